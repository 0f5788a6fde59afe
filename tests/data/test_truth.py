"""A phantom's truth is attached for measuring, and made into labels only on request."""

from __future__ import annotations

import copy
import json

import pytest

from lesion_app.data.record import validate_record
from lesion_app.data.truth import attach_extents, attach_truth, label_completely, read_truth
from lesion_app.errors import InputError

NAME = "000001_01_01_001-012"
TRUTH = {
    "convention": "...",
    "sub_volumes": {
        NAME: {
            "lesions": [
                {
                    "type": 5,
                    "labelled": True,
                    "key_slice": 5,
                    "key_box": [100, 50, 120, 80],
                    "slice_boxes": {"5": [101, 51, 119, 79], "6": [103, 53, 117, 77]},
                },
                {
                    "type": 4,
                    "labelled": False,
                    "key_slice": 9,
                    "key_box": [1, 2, 9, 9],
                    "slice_boxes": {"9": [2, 3, 8, 8]},
                },
            ]
        }
    },
}


@pytest.fixture
def truth(tmp_path):
    (tmp_path / "truth.json").write_text(json.dumps(TRUTH))
    return read_truth(tmp_path / "truth.json")


@pytest.fixture
def record():
    mark = {
        "slice": 5,
        "box": [100.0, 50.0, 120.0, 80.0],
        "label": 1,
        "kind": "lesion",
        "lesion_type": -1,
        "noisy": False,
    }
    doubt = {"slice": 7, "box": [10.0, 5.0, 20.0, 8.0], "label": 1, "kind": "ignore", "lesion_type": -1, "noisy": True}
    return {
        "id": NAME,
        "image": "Images_png/000001_01_01",
        "series_id": "000001_01_01",
        "patient_id": "000001",
        "dataset": "phantom",
        "spacing_mm": [0.8, 0.8, 5.0],
        "size": [512, 512],
        "slices": [1, 12],
        "annotations": [mark, doubt],
    }


def test_truth_is_every_lesion_on_every_slice_and_leaves_labels_alone(truth, record):
    labels = copy.deepcopy(record["annotations"])
    attach_truth([record], truth)
    assert record["truth"] == [
        {"slice": 5, "box": [101.0, 51.0, 119.0, 79.0]},
        {"slice": 6, "box": [103.0, 53.0, 117.0, 77.0]},
        {"slice": 9, "box": [2.0, 3.0, 8.0, 8.0]},
    ]
    assert record["annotations"] == labels
    validate_record(record)


def test_complete_labels_are_each_lesion_on_its_key_slice(truth, record):
    label_completely([record], truth)
    lesions = [(a["slice"], a["box"], a["lesion_type"]) for a in record["annotations"] if a["kind"] == "lesion"]
    assert lesions == [(5, [100.0, 50.0, 120.0, 80.0], 5), (9, [1.0, 2.0, 9.0, 9.0], 4)]
    assert [a["slice"] for a in record["annotations"] if a["kind"] == "ignore"] == [7]
    validate_record(record)


def test_padded_box_beyond_the_border_is_clipped(truth, record):
    truth[NAME]["lesions"][1].update(key_box=[-1, -2, 9, 9], slice_boxes={"9": [-1, 3, 8, 514]})
    attach_truth([record], truth)
    label_completely([record], truth)
    assert record["truth"][-1]["box"] == [0.0, 3.0, 8.0, 512.0]
    assert record["annotations"][-1]["box"] == [0.0, 0.0, 9.0, 9.0]
    validate_record(record)


def test_box_of_another_image_is_refused(truth, record):
    record["size"] = [64, 64]
    with pytest.raises(InputError, match="wholly outside"):
        attach_truth([record], truth)


def test_record_without_truth_cannot_be_labelled_completely(truth, record):
    record["id"] = "000002_01_01_001-012"
    attach_truth([record], truth)
    assert "truth" not in record
    with pytest.raises(InputError, match="lacks 1 of 1"):
        label_completely([record], truth)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"sub_volumes": []}', '{"sub_volumes": {"a": {"lesions": [{}]}}}']
)
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "truth.json").write_text(content)
    with pytest.raises(InputError, match=r"truth\.json"):
        read_truth(tmp_path / "truth.json")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("key-slices", [(5, [100.0, 50.0, 120.0, 80.0]), (9, [1.0, 2.0, 9.0, 9.0])]),
        ("labelled-slices", [(6, [103.0, 53.0, 117.0, 77.0])]),
    ],
)
def test_complete_labels_can_cover_every_lesion_that_touches_the_slices(truth, record, where, expected):
    record["annotations"] = [{**record["annotations"][0], "slice": 6, "box": [103.0, 53.0, 117.0, 77.0]}]
    label_completely([record], truth, where)
    assert [(a["slice"], a["box"]) for a in record["annotations"]] == expected
    validate_record(record)


def test_lesion_on_another_lesions_key_slice_is_labelled_there_too(truth, record):
    truth[NAME]["lesions"][0]["slice_boxes"]["9"] = [104, 54, 110, 60]
    label_completely([record], truth, "key-slices")
    lesions = [(a["slice"], a["box"][0]) for a in record["annotations"] if a["kind"] == "lesion"]
    assert lesions == [(5, 100.0), (9, 104.0), (9, 1.0)]


def test_extents_go_around_all_boxes_of_a_lesion(record, truth):
    record["annotations"] = [
        {"slice": 5, "box": [100.25, 50, 120, 80], "label": 1, "kind": "lesion", "lesion_type": -1, "noisy": False},
        {"slice": 6, "box": [100, 50, 120, 80], "label": 1, "kind": "lesion", "lesion_type": -1, "noisy": False},
    ]
    truth[NAME]["lesions"][0]["slice_boxes"]["7"] = [90, 60, 110, 90]
    attach_extents([record], truth)
    assert record["annotations"][0]["extent"] == [90, 51, 5, 119, 90, 8]
    assert "extent" not in record["annotations"][1]  # no lesion has that key slice
    validate_record(record)
