from __future__ import annotations

from typing import Any

import pytest

from lesion_app.metrics.mined_summary import mined_summary

A, B, C = ([x, 10.0, x + 10.0, 20.0] for x in (10.0, 40.0, 70.0))


def record(name: str, *marks: dict[str, Any], truth: list[tuple[int, list[float]]] | None = None) -> dict[str, Any]:
    series = name.rsplit("_", 1)[0]
    one = {
        "id": name,
        "image": series,
        "series_id": series,
        "patient_id": series[:6],
        "dataset": "phantom",
        "spacing_mm": [1.0, 1.0, 2.0],
        "size": [100, 100],
        "slices": [1, 9],
        "annotations": list(marks),
    }
    if truth is not None:
        one["truth"] = [{"slice": z, "box": box} for z, box in truth]
    return one


def mark(z: int, box: list[float], kind: str = "lesion", **more: Any) -> dict[str, Any]:
    return {"slice": z, "box": box, "label": 1, "kind": kind, "lesion_type": -1, "noisy": False, **more}


def enriched(truth: list[tuple[int, list[float]]] | None) -> dict[str, Any]:
    return record(
        "000001_01_01_001-009",
        mark(3, A, lesion=0),
        mark(4, A, "mined", lesion=0, origin="cross-slice"),
        mark(5, A, "mined", lesion=0, origin="cross-slice"),
        mark(4, B, "mined", lesion=1, origin="intra-patient"),
        mark(5, B, "mined", lesion=1, origin="intra-patient"),
        mark(3, C, "ignore", origin="cross-dataset:luna16"),
        mark(7, C, "ignore", origin="cross-dataset:lits"),
        truth=truth,
    )


def test_boxes_slices_and_lesions_are_counted_by_strategy():
    found = mined_summary([enriched(None)])
    counts = {name: (row["boxes"], row["slices"], row["lesions"]) for name, row in found.items()}
    assert counts == {
        "cross-slice": (2, 2, 0),  # of a lesion that was annotated
        "intra-patient": (2, 2, 1),
        "cross-dataset": (2, 2, 0),  # ignored regions are no lesions
        "cross-dataset:lits": (1, 1, 0),
        "cross-dataset:luna16": (1, 1, 0),
        "all": (6, 4, 1),
    }
    assert list(found) == list(counts)
    assert all("precision" not in row for row in found.values())


def test_precision_and_recall_stand_where_the_truth_is_known():
    truth = [(3, A), (4, A), (4, B), (3, C), (8, B)]  # hidden: all but the first
    found = mined_summary([enriched(truth), record("000002_01_01_001-009", mark(4, B, "mined", origin="cross-slice"))])
    figures = {name: (row["judged"], row["hidden"], row["precision"], row["recall"]) for name, row in found.items()}
    assert figures == {
        "cross-slice": (2, 4, 0.5, 0.25),
        "intra-patient": (2, 4, 0.5, 0.25),
        "cross-dataset": (2, 4, 0.5, 0.25),
        "cross-dataset:lits": (1, 4, 0.0, 0.0),
        "cross-dataset:luna16": (1, 4, 1.0, 0.25),
        "all": (6, 4, 0.5, 0.75),
    }
    assert found["cross-slice"]["boxes"] == 3  # the second record counts, though nobody can judge it


def test_one_expert_has_no_row_beside_its_strategy():
    found = mined_summary([record("000001_01_01_001-009", mark(3, C, "ignore", origin="cross-dataset:luna16"))])
    assert list(found) == ["cross-dataset", "all"]


def test_equal_numbers_in_two_records_are_two_lesions():
    one = mark(4, B, "mined", lesion=1, origin="intra-patient")
    found = mined_summary([record(name, dict(one)) for name in ("000001_01_01_001-009", "000001_02_01_001-009")])
    assert found["intra-patient"]["lesions"] == 2


@pytest.mark.parametrize("marks", [[], [mark(3, A)], [mark(3, A, "mined")]])
def test_records_without_an_origin_give_no_row(marks):
    assert mined_summary([record("000001_01_01_001-009", *marks)]) == {}
