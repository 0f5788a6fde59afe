"""A datalist with mined boxes, small enough to be read here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lesion_app.data.datalist import write_datalist

Box = tuple[float, float, float, float]


@pytest.fixture
def annotation() -> Callable[..., dict[str, Any]]:
    """``annotation(slice, box, kind="mined", scores=(), **more)``; each score is a sighting, of models m1, m2..."""

    def make(number: int, box: Box, kind: str = "mined", scores: tuple[float, ...] = (), **more: Any) -> dict[str, Any]:
        entry = {"slice": number, "box": list(box), "label": 1, "kind": kind, "lesion_type": -1, "noisy": False, **more}
        if scores:
            entry["sightings"] = [{"model": f"m{n}", "score": score} for n, score in enumerate(scores, start=1)]
        return entry

    return make


@pytest.fixture
def record() -> Callable[..., dict[str, Any]]:
    """``record(patient, *annotations)``: slices 1 to 9 of 128 x 100 px."""

    def make(patient: str, *annotations: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": f"{patient}_01_01_001-009",
            "image": f"Images_png/{patient}_01_01",
            "series_id": f"{patient}_01_01",
            "patient_id": patient,
            "dataset": "phantom",
            "spacing_mm": [0.8, 0.8, 5.0],
            "size": [128, 100],
            "slices": [1, 9],
            "annotations": list(annotations),
        }

    return make


@pytest.fixture
def records(annotation, record) -> list[dict[str, Any]]:
    """One lesion and four finds in two sub-volumes; sums of scores 0.9 and 1.2."""
    return [
        record("000001", annotation(5, (20, 20, 40, 40), "lesion"), annotation(5, (60, 60, 80, 80), scores=(0.4, 0.9))),
        record(
            "000002",
            annotation(3, (10, 10, 20, 20), scores=(0.5,)),
            annotation(4, (30, 30, 50, 50), scores=(0.6,), origin="cross-slice", lesion=0),
            annotation(7, (90, 5, 99, 15), scores=(0.1,)),
        ),
    ]


@pytest.fixture
def datalist(records, tmp_path) -> Path:
    path = tmp_path / "data" / "datalist.json"
    write_datalist(path, {"dataset": "phantom"}, {"training": records, "validation": [], "test": records[:1]})
    return path
