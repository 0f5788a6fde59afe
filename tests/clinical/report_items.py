"""Content items of a structured report, read by plain pydicom."""

from __future__ import annotations

from pydicom.dataset import Dataset


def groups(report: Dataset) -> list[Dataset]:
    """Measurement groups of a report."""
    return [item for item in walk(report) if name_of(item) == "125007"]


def walk(item: Dataset) -> list[Dataset]:
    children = list(item.get("ContentSequence", []))
    return children + [one for child in children for one in walk(child)]


def name_of(item: Dataset) -> str:
    return item.ConceptNameCodeSequence[0].CodeValue if item.get("ConceptNameCodeSequence") else ""


def only(items: list[Dataset], kind: str) -> list[Dataset]:
    return [item for item in items if item.ValueType == kind]


def numbers(group: Dataset) -> dict[str, float]:
    return {name_of(item): float(item.MeasuredValueSequence[0].NumericValue) for item in only(walk(group), "NUM")}
