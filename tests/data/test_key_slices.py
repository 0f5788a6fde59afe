"""Records become one item a key slice, or one a sub-volume."""

from __future__ import annotations

import json

import pytest

from lesion_app.data.key_slices import key_slice_items, volume_items
from lesion_app.errors import InputError


def _annotation(number, box, kind="lesion", **more):
    return {"slice": number, "box": box, "label": 1, "kind": kind, "lesion_type": -1, "noisy": kind == "ignore", **more}


@pytest.fixture
def record():
    return {
        "id": "000001_01_01_103-115",
        "image": "Images_png/000001_01_01",
        "series_id": "000001_01_01",
        "patient_id": "000001",
        "dataset": "deeplesion",
        "spacing_mm": [0.5, 0.5, 5.0],
        "size": [512, 512],
        "slices": [103, 115],
        "annotations": [
            _annotation(110, [5.0, 5.0, 9.0, 9.0]),
            _annotation(109, [1.0, 1.0, 4.0, 4.0]),
            _annotation(110, [20.0, 5.0, 29.0, 9.0]),
            _annotation(110, [50.0, 5.0, 59.0, 9.0], "ignore"),
            _annotation(111, [50.0, 5.0, 59.0, 9.0], "ignore"),
            _annotation(112, [50.0, 5.0, 59.0, 9.0], "mined"),
        ],
    }


def test_one_item_for_each_slice_with_a_lesion(record):
    first, second = key_slice_items([record])
    assert first == {
        "image": "Images_png/000001_01_01",
        "id": "000001_01_01_103-115",
        "series_id": "000001_01_01",
        "patient_id": "000001",
        "spacing_mm": [0.5, 0.5, 5.0],
        "slices": [103, 115],
        "slice": 109,
        "boxes": [[1.0, 1.0, 4.0, 4.0]],
        "labels": [1],
        "ignore": [],
    }
    assert second["slice"] == 110
    assert second["boxes"] == [[5.0, 5.0, 9.0, 9.0], [20.0, 5.0, 29.0, 9.0]]
    assert second["labels"] == [1, 1]
    assert second["ignore"] == [[50.0, 5.0, 59.0, 9.0]]


def test_truth_is_that_of_the_slice_and_no_label(record):
    record["truth"] = [{"slice": 109, "box": [1.0, 1.0, 4.0, 4.0]}, {"slice": 109, "box": [7.0, 7.0, 8.0, 8.0]}]
    first, second = key_slice_items([record])
    assert first["truth_boxes"] == [[1.0, 1.0, 4.0, 4.0], [7.0, 7.0, 8.0, 8.0]]
    assert first["boxes"] == [[1.0, 1.0, 4.0, 4.0]]
    assert second["truth_boxes"] == []


def test_changing_an_item_leaves_the_record_alone(record):
    before = json.dumps(record)
    for item in key_slice_items([record]) + volume_items([record]):
        for entry in item.get("annotations", []):
            entry["box"][0] = -1
        for box in item.get("boxes", []) + item.get("ignore", []):
            box[0] = -1
        item["spacing_mm"][0] = item["slices"][0] = 0
    assert json.dumps(record) == before


def test_sub_volume_counts_slices_from_zero_and_holds_lesions_only(record):
    (item,) = volume_items([record])
    assert [(a["slice"], a["box"][0], a["label"]) for a in item["annotations"]] == [
        (7, 5.0, 1),
        (6, 1.0, 1),
        (7, 20.0, 1),
    ]
    assert (item["id"], item["slices"], item["size"]) == ("000001_01_01_103-115", [103, 115], [512, 512])


def test_extent_is_counted_from_zero_too(record):
    record["annotations"] = [_annotation(109, [1.0, 1.0, 4.0, 4.0], extent=[1.0, 1.0, 108.0, 4.0, 4.0, 112.0])]
    (item,) = volume_items([record])
    assert item["annotations"][0]["extent"] == [1.0, 1.0, 5.0, 4.0, 4.0, 9.0]


def test_sub_volume_without_lesions_is_evaluated_but_not_trained_on(record):
    record["annotations"] = []
    assert key_slice_items([record]) == []
    assert volume_items([record])[0]["annotations"] == []


def test_offline_mined_boxes_are_added_or_ignored_on_slices_that_have_a_label(record):
    record["annotations"].append(_annotation(109, [30.0, 30.0, 40.0, 40.0], "mined"))
    added, _ = key_slice_items([record], mined="add")
    assert added["boxes"] == [[1.0, 1.0, 4.0, 4.0], [30.0, 30.0, 40.0, 40.0]]
    assert added["labels"] == [1, 1]
    ignored, _ = key_slice_items([record], mined="ignore")
    assert ignored["boxes"] == [[1.0, 1.0, 4.0, 4.0]]
    assert ignored["ignore"] == [[30.0, 30.0, 40.0, 40.0]]


def test_known_negatives_are_handed_on(record):
    record["annotations"].append(_annotation(109, [30.0, 30.0, 40.0, 40.0], "negative"))
    first, second = key_slice_items([record])
    assert first["negatives"] == [[30.0, 30.0, 40.0, 40.0]]
    assert "negatives" not in second


def test_slices_with_hard_negatives_join_in_when_asked(record):
    record["annotations"].append(_annotation(111, [30.0, 30.0, 40.0, 40.0], "negative"))
    assert [i["slice"] for i in key_slice_items([record])] == [109, 110]
    items = key_slice_items([record], join="negative")
    assert [(i["slice"], len(i["boxes"]), len(i.get("negatives", []))) for i in items] == [
        (109, 1, 0),
        (110, 2, 0),
        (111, 0, 1),
    ]


def test_lesions_of_other_slices_are_ignored_when_asked(record):
    regions = {i["slice"]: i["ignore"] for i in key_slice_items([record], join="all", elsewhere="ignore")}
    lesions, doubtful = [[1.0, 1.0, 4.0, 4.0], [5.0, 5.0, 9.0, 9.0], [20.0, 5.0, 29.0, 9.0]], [50.0, 5.0, 59.0, 9.0]
    assert sorted(regions[104]) == [*lesions, doubtful, doubtful]
    assert sorted(regions[109]) == [*lesions[1:], doubtful, doubtful]
    assert sorted(regions[110]) == [lesions[0], doubtful, doubtful]
    assert {i["slice"]: i["ignore"] for i in key_slice_items([record], join="all")}[109] == []
    with pytest.raises(InputError, match="leave, ignore"):
        key_slice_items([record], elsewhere="add")  # type: ignore[arg-type]


def test_unknown_use_of_mined_boxes_is_refused(record):
    with pytest.raises(InputError, match="leave, add, ignore"):
        key_slice_items([record], mined="keep")  # type: ignore[arg-type]


def test_mined_and_unlabelled_slices_join_in_when_asked(record):
    record["annotations"].append(_annotation(114, [50.0, 5.0, 59.0, 9.0], "ignore"))
    assert [i["slice"] for i in key_slice_items([record], mined="add", join="mined")] == [109, 110, 112]
    items = key_slice_items([record], mined="add", join="all")
    assert [i["slice"] for i in items] == list(range(103, 116))
    by_slice = {i["slice"]: i for i in items}
    assert (by_slice[103]["boxes"], by_slice[103]["labels"], by_slice[103]["ignore"]) == ([], [], [])
    assert by_slice[114]["ignore"] == [[50.0, 5.0, 59.0, 9.0]]
    with pytest.raises(InputError, match="labelled, reviewed, mined, negative, all"):
        key_slice_items([record], join="none")  # type: ignore[arg-type]


def test_lesion_with_boxes_on_several_slices_is_evaluated_once(record):
    record["annotations"] = [
        _annotation(109, [1.0, 1.0, 4.0, 4.0], lesion=0),
        _annotation(110, [1.0, 1.0, 5.0, 4.0], lesion=0),
        _annotation(110, [20.0, 1.0, 24.0, 4.0], lesion=1),
        _annotation(111, [30.0, 1.0, 34.0, 4.0]),
        _annotation(112, [30.0, 1.0, 34.0, 4.0]),
    ]
    (item,) = volume_items([record])
    assert [a["slice"] for a in item["annotations"]] == [7, 7, 8, 9]


@pytest.mark.parametrize(
    ("verdicts", "joins"), [([], False), (["unknown"], False), (["rejected"], True), (["confirmed", "unknown"], False)]
)
def test_slices_that_a_reader_answered_join_in_when_asked(record, verdicts, joins):
    reviews = [{"verdict": v, "by": "a", "at": "2026-01-01T00:00:00Z", "model": ""} for v in verdicts]
    record["annotations"][-1].update(kind="negative", reviews=reviews)
    slices = [i["slice"] for i in key_slice_items([record], join="reviewed")]
    assert slices == [109, 110] + [112] * joins
    (last,) = [i for i in key_slice_items([record], join="all") if i["slice"] == 112]
    assert (last["boxes"], last["negatives"]) == ([], [[50.0, 5.0, 59.0, 9.0]])
