"""The record's validator says in one sentence what is wrong."""

from __future__ import annotations

import copy
import json

import pytest

from lesion_app.data.record import parse_sub_volume, validate_record
from lesion_app.errors import InputError

REVIEW = {"verdict": "confirmed", "by": "a", "at": "2026-01-01T00:00:00Z", "model": ""}
GOOD = {
    "id": "000001_01_01_103-115",
    "image": "Images_png/000001_01_01",
    "series_id": "000001_01_01",
    "patient_id": "000001",
    "dataset": "deeplesion",
    "spacing_mm": [0.5, 0.5, 5.0],
    "size": [512, 400],
    "slices": [103, 115],
    "annotations": [
        {
            "slice": 109,
            "box": [225.5, 89.0, 241.0, 112.0],
            "label": 1,
            "kind": "lesion",
            "lesion_type": 3,
            "noisy": False,
        }
    ],
    "truth": [{"slice": 103, "box": [0.0, 0.0, 512.0, 400.0]}],
}


def test_good_record_survives_json_and_passes():
    validate_record(json.loads(json.dumps(GOOD)))


@pytest.mark.parametrize("origin", ["cross-slice", "intra-patient", "cross-dataset:luna16", "cross-dataset:nih-ln"])
def test_mined_annotation_may_tell_its_origin_and_its_lesion(origin):
    record = copy.deepcopy(GOOD)
    record["annotations"][0].update(origin=origin, lesion=0, kind="mined")
    validate_record(record)


def test_found_annotation_may_tell_who_saw_it_and_who_answered():
    record = copy.deepcopy(GOOD)
    record["annotations"][0].update(sightings=[{"model": "m", "score": 1}], reviews=[REVIEW])
    validate_record(record)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: r.pop("slices"), "lacks slices"),
        (lambda r: r.update(image=""), "image"),
        (lambda r: r.update(spacing_mm=[0.5, 0.5, float("nan")]), "spacing_mm"),
        (lambda r: r.update(spacing_mm=[0.5, 0.5, -5.0]), "spacing_mm"),
        (lambda r: r.update(spacing_mm=[0.5, 5.0]), "spacing_mm"),
        (lambda r: r.update(size=[512.0, 512.0]), "size"),
        (lambda r: r.update(slices=[115, 103]), "slices"),
        (lambda r: r.update(annotations=None), "annotations"),
        (lambda r: r["annotations"].append(7), "expected a dict"),
        (lambda r: r["annotations"][0].update(slice=116), "103 to 115"),
        (lambda r: r["annotations"][0].update(slice=True), "103 to 115"),
        (lambda r: r["annotations"][0].update(box=[1, 2, 3]), "four numbers"),
        (lambda r: r["annotations"][0].pop("box"), "four numbers"),
        (lambda r: r["annotations"][0].update(box=[10.0, 10.0, 10.0, 20.0]), "empty, inverted"),
        (lambda r: r["annotations"][0].update(box=[-1.0, 10.0, 10.0, 20.0]), "512 x 400"),
        (lambda r: r["annotations"][0].update(box=[1.0, 10.0, 10.0, 401.0]), "512 x 400"),
        (lambda r: r["annotations"][0].update(label=0), "label"),
        (lambda r: r["annotations"][0].update(kind="cyst"), "kind"),
        (lambda r: r["annotations"][0].update(lesion=-1), "lesion is -1"),
        (lambda r: r["annotations"][0].update(lesion=1.0), "lesion is 1.0"),
        (lambda r: r["annotations"][0].update(origin="guess"), "cross-slice"),
        (lambda r: r["annotations"][0].update(origin="cross-dataset:"), "cross-slice"),
        (lambda r: r["annotations"][0].update(origin=None), "cross-slice"),
        (lambda r: r["annotations"][0].update(lesion_type=9), "lesion_type"),
        (lambda r: r["annotations"][0].update(noisy=1), "noisy"),
        (lambda r: r["annotations"][0].update(extent=[0, 0, 5, 9, 9, 5]), "extent"),
        (lambda r: r["annotations"][0].update(sightings=[{"model": "m"}]), "score None"),
        (lambda r: r["annotations"][0].update(sightings=[{"model": "m", "score": 1.5}]), "from 0 to 1"),
        (lambda r: r["annotations"][0].update(sightings=[{"score": 0.5}]), "model, score"),
        (lambda r: r["annotations"][0].update(sightings=7), "model, score"),
        (
            lambda r: r["annotations"][0].update(reviews=[{**REVIEW, "verdict": "perhaps"}]),
            "confirmed, rejected, unknown",
        ),
        (lambda r: r["annotations"][0].update(reviews=[{**REVIEW, "by": None}]), "lacks by, at or model"),
        (lambda r: r["annotations"][0].update(reviews={"verdict": "confirmed"}), "lacks by, at or model"),
        (lambda r: r["truth"][0].update(slice=2), r"truth\[0\]"),
    ],
)
def test_fault_is_told_in_one_sentence(change, told):
    record = copy.deepcopy(GOOD)
    change(record)
    with pytest.raises(InputError, match=told) as caught:
        validate_record(record)
    assert "\n" not in str(caught.value)


def test_something_that_is_no_record_is_refused():
    with pytest.raises(InputError):
        validate_record([])  # type: ignore[arg-type]


def test_name_of_a_sub_volume_is_taken_apart_and_put_together():
    name = parse_sub_volume("000001_02_03_008-1023")
    assert (name.series_id, name.patient_id, name.low, name.high) == ("000001_02_03", "000001", 8, 1023)
    assert str(name) == "000001_02_03_008-1023"


@pytest.mark.parametrize("name", ["000001_01_01", "000001_01_01_115-103", "../x_001-002", ""])
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match="sub-volume"):
        parse_sub_volume(name)
