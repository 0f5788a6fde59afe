"""Score history of found boxes."""

from __future__ import annotations

import numpy as np

from lesion_app.mining.sightings import Find, enter_sightings, sighting

BOX = (10.0, 10.0, 30.0, 30.0)


def annotation(kind="mined", box=BOX, number=5, **more):
    return {"slice": number, "box": list(box), "label": 1, "kind": kind, "lesion_type": -1, "noisy": False, **more}


def test_find_on_an_earlier_one_becomes_its_sighting():
    old = annotation(sightings=[sighting("one", 0.4)])
    record = {"annotations": [old, annotation(box=(50, 50, 60, 60))]}
    new = Find(5, (80.0, 80.0, 90.0, 90.0), 0.6)
    assert enter_sightings(record, [new, Find(5, (11.0, 10.0, 31.0, 30.0), 0.81236)], "two") == [new]
    assert old["sightings"] == [{"model": "one", "score": 0.4}, {"model": "two", "score": 0.8124}]
    assert "sightings" not in record["annotations"][1]


def test_other_slices_and_small_overlaps_are_other_finds():
    record = {"annotations": [annotation()]}
    others = [Find(4, BOX, 0.5), Find(5, (20.0, 10.0, 40.0, 30.0), 0.5)]
    assert enter_sightings(record, others, "m") == others
    assert enter_sightings(record, others, "m", same_iou=0.3) == others[:1]


def test_labels_of_the_data_set_are_no_finds_and_answered_boxes_are():
    review = {"verdict": "rejected", "by": "a", "at": "2026-01-01T00:00:00Z", "model": ""}
    label, answered = annotation("lesion"), annotation("negative", reviews=[review])
    assert enter_sightings({"annotations": [label]}, [Find(5, BOX, 0.5)], "m") == [Find(5, BOX, 0.5)]
    assert enter_sightings({"annotations": [label, answered]}, [Find(5, BOX, 0.5)], "m") == []
    assert answered["sightings"] == [{"model": "m", "score": 0.5}]
    assert "sightings" not in label


def test_best_of_two_finds_on_one_place_counts():
    old = annotation()
    enter_sightings({"annotations": [old]}, [Find(5, (11.0, 11.0, 30.0, 30.0), 0.3), Find(5, BOX, 0.7)], "m")
    assert old["sightings"] == [{"model": "m", "score": 0.7}]


def test_same_look_taken_twice_is_told_once():
    old = annotation()
    for _ in range(2):
        enter_sightings({"annotations": [old]}, [Find(5, BOX, 0.7)], "m")
    assert old["sightings"] == [{"model": "m", "score": 0.7}]


def test_each_find_takes_the_earlier_one_that_it_overlaps_most():
    near, far = annotation(box=(11, 10, 31, 30)), annotation(box=(14, 10, 34, 30))
    enter_sightings({"annotations": [far, near]}, [Find(5, BOX, 0.5)], "m")
    assert "sightings" in near
    assert "sightings" not in far


def test_against_a_slow_reference():
    rng = np.random.default_rng(0)

    def iou(a, b):
        width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        inner = max(width, 0) * max(height, 0)
        return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)

    def boxes(count):
        corners = rng.integers(0, 12, (count, 2))
        return [
            tuple(map(float, (x, y, x + w, y + h))) for (x, y), (w, h) in zip(corners, rng.integers(8, 14, (count, 2)))
        ]

    for _ in range(50):
        old = [annotation(box=box, number=int(rng.integers(3))) for box in boxes(6)]
        finds = [Find(int(rng.integers(3)), box, float(rng.random())) for box in boxes(6)]
        fresh = [
            f for f in finds if max((iou(f.box, a["box"]) for a in old if a["slice"] == f.slice), default=0.0) < 0.5
        ]
        assert enter_sightings({"annotations": old}, finds, "m") == fresh


def test_scores_stay_within_0_and_1():
    assert sighting("m", 1.0000001) == {"model": "m", "score": 1.0}
    assert sighting("m", -1e-9) == {"model": "m", "score": 0.0}
