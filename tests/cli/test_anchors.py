"""Anchors from the command line: boxes of a datalist in, a line for the config out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lesion_app.anchors_command import box_sides


@pytest.fixture
def datalist(tmp_path_factory) -> Path:
    """Two records of different spacing; only kind 'lesion' counts."""

    def record(name: str, spacing: float, boxes: list, kind: str = "lesion") -> dict:
        annotations = [
            {"slice": 5, "box": box, "label": 1, "kind": kind, "lesion_type": -1, "noisy": False} for box in boxes
        ]
        return {
            "id": f"{name}_01_01_001-009",
            "image": f"Images_png/{name}_01_01",
            "series_id": f"{name}_01_01",
            "patient_id": name,
            "dataset": "phantom",
            "spacing_mm": [spacing, spacing, 5.0],
            "size": [512, 512],
            "slices": [1, 9],
            "annotations": annotations,
        }

    path = tmp_path_factory.mktemp("anchors") / "datalist.json"
    training = [
        record("000001", 0.8, [[10, 10, 20, 20], [10, 10, 50, 60]]),
        record("000002", 1.6, [[10, 10, 20, 20]]),
        record("000003", 0.8, [[0, 0, 400, 400]], kind="ignore"),
    ]
    path.write_text(json.dumps({"training": training, "validation": [], "test": training[:1]}))
    return path


def test_line_for_the_config_fits_the_boxes_in_the_networks_px(run, datalist):
    code, printed, _ = run("anchors", datalist, "--count", 3)
    assert code == 0
    line = json.loads("{" + printed.splitlines()[-1] + "}")
    assert line == {"network_def#anchors": [[10.0, 10.0], [20.0, 20.0], [40.0, 50.0]]}
    assert "mean IoU 1.0000 over 3 boxes" in printed


@pytest.mark.parametrize(
    ("options", "first"), [(("--pixel-spacing", 0.4), 30.0), (("--size", 1024), 20.0), (("--split", "test"), 10.0)]
)
def test_scale_and_split_can_be_chosen(run, datalist, options, first):
    code, printed, _ = run("anchors", datalist, "--count", 2, *options)
    assert code == 0
    assert json.loads("{" + printed.splitlines()[-1] + "}")["network_def#anchors"][0] == [first, first]


def test_picture_is_drawn(run, datalist, tmp_path):
    code, printed, _ = run("anchors", datalist, "--count", 2, "--picture", tmp_path / "new" / "anchors.png")
    assert code == 0
    assert f"wrote {tmp_path / 'new' / 'anchors.png'}" in printed
    assert (tmp_path / "new" / "anchors.png").read_bytes().startswith(b"\x89PNG")


def test_anchors_of_a_phantom(run, phantom_data):
    code, printed, _ = run("anchors", phantom_data / "datalist.json", "--count", 3)
    assert code == 0
    assert 0.4 < float(re.search(r"mean IoU ([\d.]+)", printed).group(1)) <= 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--count", 4), "has 3 different boxes, too few for 4 anchors"),
        (("--split", "validation"), "has 0 different boxes"),
        (("--split", "holdout"), "has no list 'holdout'"),
        (("--count", 1, "--pixel-spacing", 0.8, "--size", 512), "were both given"),
        (("--count", 1, "--pixel-spacing", -1), "expected mm above 0"),
        (("--count", 1, "--picture", "anchors.gif"), "expected one of .png, .pdf, .svg"),
    ],
)
def test_mistakes_are_told(refused, datalist, options, told):
    assert told in refused("anchors", datalist, *options)


def test_missing_datalist_is_told(refused, tmp_path):
    assert "cannot be read" in refused("anchors", tmp_path / "datalist.json")


def test_sides_of_no_records_are_none():
    assert box_sides([], 0.8).shape == (0, 2)
