"""The three strategies together, entered into records with their origin."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.data.key_slices import key_slice_items
from lesion_app.data.record import validate_record
from lesion_app.metrics.mined_origins import counts_by_origin
from lesion_app.mining.enrich import Proposals, enrich_records

A, B, C, D = ([x, 10.0, x + 10.0, 20.0] for x in (10.0, 40.0, 70.0, 95.0))


def record(name="000001_01_01_005-008", *marks, truth=()):
    series = name.rsplit("_", 1)[0]
    return {
        "id": name,
        "image": f"Images_png/{series}",
        "series_id": series,
        "patient_id": series[:6],
        "dataset": "phantom",
        "spacing_mm": [1.0, 1.0, 2.0],
        "size": [100, 100],
        "slices": [5, 8],
        "annotations": [
            {"slice": z, "box": list(box), "label": 1, "kind": kind, "lesion_type": 5, "noisy": False}
            for z, box, kind in marks
        ],
        "truth": [{"slice": z, "box": list(box)} for z, box in truth],
    }


def chain(first, *boxes, score=0.8):
    return Tracklet(tuple(range(first, first + len(boxes))), tuple(map(tuple, boxes)), (score,) * len(boxes))


def nothing(depth=4):
    return [{"boxes": torch.zeros(0, 4), "scores": torch.zeros(0)} for _ in range(depth)]


def mined(one):
    return [
        (a["slice"], a["box"], a["kind"], a["origin"], a.get("lesion")) for a in one["annotations"] if "origin" in a
    ]


def test_boxes_of_a_marked_lesion_join_its_number():
    before = record("000001_01_01_005-008", (6, A, "lesion"))
    (after,) = enrich_records([before], {before["id"]: Proposals([chain(0, A, A, A), chain(0, B)])})
    assert mined(after) == [(5, A, "mined", "cross-slice", 0), (7, A, "mined", "cross-slice", 0)]
    assert after["annotations"][0]["lesion"] == 0
    assert "lesion" not in before["annotations"][0]
    validate_record(after)


def test_mined_boxes_tell_their_score_when_the_model_is_named():
    before = record("000001_01_01_005-008", (6, A, "lesion"))
    found = {before["id"]: Proposals([Tracklet((0, 1), (tuple(A), tuple(A)), (0.3, 0.8))])}
    (after,) = enrich_records([before], found, model="m")
    assert [a["sightings"] for a in after["annotations"] if a["kind"] == "mined"] == [[{"model": "m", "score": 0.3}]]
    validate_record(after)
    (untold,) = enrich_records([before], found)
    assert all("sightings" not in a for a in untold["annotations"])


def test_tracklets_like_a_lesion_of_another_scan_become_new_lesions():
    first, second = record("000001_01_01_005-008", (6, A, "lesion")), record("000001_02_01_005-008", (5, C, "lesion"))
    found = {
        first["id"]: Proposals([chain(1, A)], np.array([[0.0, 0.0]]), np.array([[0.0, 0.0]])),
        second["id"]: Proposals(
            [chain(1, B, B), chain(2, C)], np.array([[0.05, 0.0], [3.0, 0.0]]), np.array([[2.0, 0.0]])
        ),
    }
    one, two = enrich_records([first, second], found)
    assert mined(one) == []
    assert mined(two) == [(6, B, "mined", "intra-patient", 1), (7, B, "mined", "intra-patient", 1)]
    stranger = record("000002_01_01_005-008")
    third = {**found, stranger["id"]: Proposals([chain(1, B)], np.array([[0.0, 0.0]]), np.zeros((0, 2)))}
    assert mined(enrich_records([first, second, stranger], third)[2]) == []


def test_confident_experts_leave_regions_to_ignore_where_nothing_stands():
    one = record("000001_01_01_005-008", (6, A, "lesion"))
    seen = nothing()
    seen[0] = {"boxes": [A, B, C, D], "scores": [0.9, 0.9, 0.4, 0.9]}
    (after,) = enrich_records([one], {one["id"]: Proposals([chain(0, A, A)], experts={"luna16": seen})})
    assert mined(after) == [
        (5, A, "mined", "cross-slice", 0),
        (5, B, "ignore", "cross-dataset:luna16", None),
        (5, [95.0, 10.0, 100.0, 20.0], "ignore", "cross-dataset:luna16", None),
    ]
    validate_record(after)


def test_a_lesion_is_mined_once_though_two_tracklets_find_it():
    one = record("000001_01_01_005-008", (6, A, "lesion"))
    shifted = [A[0] + 1, *A[1:]]
    (after,) = enrich_records([one], {one["id"]: Proposals([chain(0, A, A, score=0.5), chain(0, shifted, shifted)])})
    assert mined(after) == [(5, shifted, "mined", "cross-slice", 0)]


def test_enriched_records_train_on_mined_and_on_all_slices():
    one = record("000001_01_01_005-008", (6, A, "lesion"))
    seen = nothing()
    seen[3] = {"boxes": [B], "scores": [0.9]}
    (after,) = enrich_records([one], {one["id"]: Proposals([chain(1, A, A)], experts={"lits": seen})})
    assert [(i["slice"], i["boxes"]) for i in key_slice_items([after])] == [(6, [A])]
    assert [i["slice"] for i in key_slice_items([after], mined="add", join="mined")] == [6, 7]
    items = key_slice_items([after], mined="add", join="all")
    assert [(i["slice"], len(i["boxes"]), i["ignore"]) for i in items] == [
        (5, 0, []),
        (6, 1, []),
        (7, 1, []),
        (8, 0, [B]),
    ]


def test_records_without_proposals_stay_and_unknown_ones_are_refused():
    one = record("000001_01_01_005-008", (6, A, "lesion"))
    assert json.dumps(enrich_records([one], {})) == json.dumps([one])
    with pytest.raises(ValueError, match="none of the records"):
        enrich_records([one], {"000009_01_01_001-002": Proposals([])})
    with pytest.raises(ValueError, match="expected 1 tracklet embeddings"):
        enrich_records([one], {one["id"]: Proposals([chain(0, A)], np.zeros((2, 3)), np.zeros((1, 3)))})
    with pytest.raises(ValueError, match="expected 4 slices"):
        enrich_records([one], {one["id"]: Proposals([], experts={"lits": nothing(3)})})


def test_precision_and_recall_are_told_by_origin():
    truth = [(5, A), (6, A), (7, A), (6, B), (8, C)]
    one = record("000001_01_01_005-008", (6, A, "lesion"), truth=truth)
    seen = nothing()
    seen[3] = {"boxes": [C, D], "scores": [0.9, 0.9]}
    wrong = [60.0, 60.0, 70.0, 70.0]
    found = Proposals([chain(0, A, A), chain(0, wrong)], experts={"lits": seen})
    counts = counts_by_origin(enrich_records([one], {one["id"]: found}))
    assert list(counts) == ["cross-dataset:lits", "cross-slice", "all"]
    assert (counts["cross-slice"].precision, counts["cross-slice"].recall) == (1.0, 0.25)
    assert (counts["cross-dataset:lits"].precision, counts["cross-dataset:lits"].recall) == (0.5, 0.25)
    assert (counts["all"].mined, counts["all"].found, counts["all"].hidden) == (3, 2, 4)
