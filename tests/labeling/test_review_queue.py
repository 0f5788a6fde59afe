"""What waits for a reader, and in which order."""

from __future__ import annotations

import itertools

import pytest

from lesion_app.errors import InputError
from lesion_app.labeling.review_queue import expected_missing, review_queue, suspect_id

ANSWER = {"by": "dr", "at": "2026-01-01T00:00:00Z", "model": "m1"}


def places(queue):
    return [(one.record[:6], one.slice) for one in queue]


def test_every_mined_box_waits_with_origin_and_score_history(records):
    queue = review_queue(records)
    assert len(queue) == 4
    first = next(one for one in queue if one.record.startswith("000001"))
    assert first.box == (60, 60, 80, 80)
    assert first.sightings == (("m1", 0.4), ("m2", 0.9))
    assert (first.score, first.model, first.origin) == (0.9, "m2", "mined")
    assert next(one for one in queue if one.slice == 4).origin == "cross-slice"


def test_answered_finds_wait_no_more_and_unknown_ones_still_do(records):
    finds = records[1]["annotations"]
    for find, kind, verdict in zip(finds, ("lesion", "negative", "ignore"), ("confirmed", "rejected", "unknown")):
        find.update(kind=kind, reviews=[{**ANSWER, "verdict": verdict}])
    assert places(review_queue(records)) == [("000001", 5), ("000002", 7)]


def test_regions_that_nobody_found_never_wait(record, annotation):
    assert review_queue([record("000001", annotation(5, (1, 1, 9, 9), "ignore", noisy=True))]) == []


def test_volume_with_most_expected_lesions_comes_first_and_whole(records):
    assert places(review_queue(records)) == [("000002", 4), ("000002", 3), ("000002", 7), ("000001", 5)]
    assert expected_missing(review_queue(records)) == {"000001_01_01_001-009": 0.9, "000002_01_01_001-009": 1.2}


def test_order_by_score(records):
    assert [one.score for one in review_queue(records, order="score")] == [0.9, 0.6, 0.5, 0.1]


def test_random_order_is_that_of_its_seed_whatever_the_order_of_the_records(records):
    orders = {tuple(places(review_queue(records, order="random", seed=seed))) for seed in range(30)}
    assert len(orders) > 10
    again = review_queue(records[::-1], order="random", seed=3)
    assert again == review_queue(records, order="random", seed=3)


def test_order_of_the_datalist_changes_nothing(records):
    expected = review_queue(records)
    for shuffled in itertools.permutations(records[1]["annotations"]):
        records[1]["annotations"] = list(shuffled)
        assert review_queue(records[::-1]) == expected


def test_unknown_order_is_refused(records):
    with pytest.raises(InputError, match="volumes, score, random"):
        review_queue(records, order="best")  # type: ignore[arg-type]


def test_sightings_of_earlier_rounds_come_first(record, annotation):
    earlier = [record("000001", annotation(5, (61, 60, 81, 80), scores=(0.3,)), annotation(5, (1, 1, 9, 9)))]
    now = [record("000001", annotation(5, (60, 60, 80, 80), sightings=[{"model": "m2", "score": 0.7}]))]
    (one,) = review_queue(now, earlier=[earlier])
    assert one.sightings == (("m1", 0.3), ("m2", 0.7))
    (alone,) = review_queue(now, earlier=[earlier], same_iou=0.95)
    assert alone.sightings == (("m2", 0.7),)


def test_a_datalist_mined_upon_an_earlier_one_tells_no_sighting_twice(record, annotation):
    earlier = [record("000001", annotation(5, (60, 60, 80, 80), scores=(0.3,)))]
    now = [record("000001", annotation(5, (60, 60, 80, 80), scores=(0.3, 0.7)))]
    (one,) = review_queue(now, earlier=[earlier])
    assert one.sightings == (("m1", 0.3), ("m2", 0.7))


def test_find_without_a_score_says_neither_yes_nor_no(record, annotation):
    (one,) = review_queue([record("000001", annotation(5, (60, 60, 80, 80)))])
    assert (one.score, one.model, one.sightings) == (0.5, "", ())


def test_id_is_that_of_record_slice_and_box_to_a_tenth_of_a_pixel():
    one = suspect_id("a", 1, (1, 2, 3, 4))
    assert one == suspect_id("a", 1, (1.04, 2.0, 3.0, 3.96))
    assert suspect_id("a", 1, (-0.0, 2, 3, 4)) == suspect_id("a", 1, (0.0, 2, 3, 4))
    others = {suspect_id("b", 1, (1, 2, 3, 4)), suspect_id("a", 2, (1, 2, 3, 4)), suspect_id("a", 1, (1.1, 2, 3, 4))}
    assert len(others | {one}) == 4
