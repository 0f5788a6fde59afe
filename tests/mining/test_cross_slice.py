"""Boxes of an annotated lesion on the slices around its mark."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.mining.cross_slice import PropagatedBox, key_slice_iou, propagate_across_slices

BOX = (10.0, 10.0, 20.0, 20.0)
SHIFTED = (12.0, 10.0, 22.0, 20.0)  # IoU with BOX 8 / 12
FAR = (50.0, 50.0, 60.0, 60.0)


def tracklet(first, *boxes):
    return Tracklet(tuple(range(first, first + len(boxes))), boxes, tuple(0.1 * (i + 1) for i in range(len(boxes))))


def test_other_slices_of_the_marked_tracklet_are_mined():
    chains = [tracklet(3, BOX, SHIFTED, BOX), tracklet(3, FAR, FAR)]
    assert propagate_across_slices(chains, [4], [BOX]) == [
        PropagatedBox(3, BOX, 0.1, 0, 0),
        PropagatedBox(5, BOX, pytest.approx(0.3), 0, 0),
    ]


def test_overlap_on_another_slice_than_the_marks_does_not_count():
    assert propagate_across_slices([tracklet(3, BOX, BOX)], [7], [BOX]) == []


def test_overlap_must_exceed_theta():
    half = (10.0, 10.0, 20.0, 15.0)  # IoU exactly 0.5
    assert propagate_across_slices([tracklet(0, half, BOX)], [0], [BOX], theta=0.5) == []
    assert [m.slice for m in propagate_across_slices([tracklet(0, half, BOX)], [0], [BOX], theta=0.49)] == [1]


def test_lesion_marked_on_two_slices_is_mined_on_the_rest_only():
    chain = tracklet(0, BOX, BOX, BOX, BOX)
    assert [m.slice for m in propagate_across_slices([chain], [1, 3], [BOX, BOX])] == [0, 2]


def test_tracklet_belongs_to_the_annotation_of_largest_iou():
    mined = propagate_across_slices([tracklet(0, BOX, BOX, BOX)], [0, 1], [SHIFTED, BOX])
    assert [(m.slice, m.annotation) for m in mined] == [(2, 1)]


def test_nothing_in_gives_nothing_out():
    assert propagate_across_slices([], [1], [BOX]) == []
    assert propagate_across_slices([tracklet(0, BOX)], [], []) == []
    assert key_slice_iou([], [], []).shape == (0, 0)
    with pytest.raises(ValueError, match="theta"):
        propagate_across_slices([], [], [], theta=1.0)
    with pytest.raises(ValueError, match="one slice a box"):
        key_slice_iou([], [1, 2], [BOX])


def iou_of(a, b):
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def by_hand(chains, slices, boxes, theta):
    """The paper's sentences, one loop each."""
    found = []
    for t, chain in enumerate(chains):
        best, which = theta, None
        for a, (z, mark) in enumerate(zip(slices, boxes)):
            for own_z, own in zip(chain.slices, chain.boxes):
                if own_z == z and iou_of(own, mark) > best:
                    best, which = iou_of(own, mark), a
        if which is None:
            continue
        for own_z, own, score in zip(chain.slices, chain.boxes, chain.scores):
            if not any(z == own_z and iou_of(own, mark) > theta for z, mark in zip(slices, boxes)):
                found.append((own_z, own, score, t, which))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_paper_taken_word_for_word(seed):
    rng = np.random.default_rng(seed)

    def box():
        x, y = rng.uniform(0, 12, 2)
        return (x, y, x + rng.uniform(6, 12), y + rng.uniform(6, 12))

    chains = [tracklet(int(rng.integers(0, 5)), *(box() for _ in range(rng.integers(1, 6)))) for _ in range(8)]
    slices, boxes = rng.integers(0, 8, 5).tolist(), [box() for _ in range(5)]
    theta = float(rng.uniform(0.1, 0.6))
    mined = propagate_across_slices(chains, slices, boxes, theta)
    assert [(m.slice, m.box, m.score, m.tracklet, m.annotation) for m in mined] == by_hand(chains, slices, boxes, theta)
