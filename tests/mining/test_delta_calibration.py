from __future__ import annotations

import numpy as np
import pytest

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.mining.delta_calibration import delta_for_false_share, distances_within_scans
from lesion_app.mining.enrich import Proposals

A, B, C = ((x, 10.0, x + 10.0, 20.0) for x in (10.0, 40.0, 70.0))


def record(name, *marks):
    return {
        "id": name,
        "slices": [5, 9],
        "annotations": [{"slice": z, "box": list(box), "kind": kind} for z, box, kind in marks],
    }


def find(z, box):
    return Tracklet((z,), (box,), (0.9,))


def test_distance_is_that_to_the_nearest_marked_lesion_of_the_scan():
    one = record("a", (6, A, "lesion"), (7, B, "lesion"), (6, C, "ignore"))
    found = Proposals([find(1, C)], np.array([[0.0, 1.0]]), np.array([[3.0, 5.0], [0.0, 3.0]]))
    assert distances_within_scans([one], {"a": found}).tolist() == [2.0]


def test_finds_that_may_be_the_marked_lesion_are_no_pair_of_different_ones():
    one = record("a", (6, A, "lesion"), (7, B, "lesion"))
    embeddings = np.array([[0.0], [1.0], [2.0]])
    piece = (19.0, 10.0, 25.0, 20.0)  # shares a column with A, on another slice
    found = Proposals([find(1, A), find(4, piece), find(0, C)], embeddings, np.array([[0.5], [10.0]]))
    # the first two are compared with B alone
    assert distances_within_scans([one], {"a": found}).tolist() == [10.0, 9.0, 1.5]


def test_scans_without_anything_to_compare_are_passed_over():
    marked, unmarked = record("a", (6, A, "lesion")), record("b")
    one_vector = np.array([[1.0]])
    proposals = {
        "a": Proposals([find(0, C)]),  # no embeddings
        "b": Proposals([find(0, C)], one_vector, np.zeros((0, 0))),
        "c": Proposals([], np.zeros((0, 0)), one_vector),
        "d": Proposals([find(1, A)], one_vector, one_vector),  # the lesion itself
    }
    records = [marked, unmarked, {**marked, "id": "c"}, {**marked, "id": "d"}, {**marked, "id": "e"}]
    assert distances_within_scans(records, proposals).tolist() == []


def test_delta_leaves_the_share_told_below_it():
    distances = np.random.default_rng(0).uniform(0.1, 2.0, 1000)
    delta = delta_for_false_share(distances, 0.02)
    assert delta is not None
    assert (distances < delta).mean() == pytest.approx(0.02, abs=1e-3)


@pytest.mark.parametrize("distances", [[], [0.0, 0.0, 0.0]])
def test_no_delta_without_pairs_or_when_it_would_be_zero(distances):
    assert delta_for_false_share(np.array(distances), 0.1) is None


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="false_share must lie in"):
        delta_for_false_share(np.array([1.0]), share)
