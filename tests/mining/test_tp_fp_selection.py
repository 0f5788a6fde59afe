"""True and false positives for false-positive reduction, and the order an epoch looks at them."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.mining.tp_fp_selection import CandidateSampler, draw_epoch, select_tp_fp

A = (10.0, 10.0, 20.0, 20.0)


def shifted(dx):
    return (A[0] + dx, A[1], A[2] + dx, A[3])


def chain(first, *boxes):
    return Tracklet(tuple(range(first, first + len(boxes))), boxes, (0.5,) * len(boxes))


def kinds(tracklets, *marks, unsure=(), **thresholds):
    found = select_tp_fp(
        tracklets,
        [z for z, _ in marks],
        [b for _, b in marks],
        [z for z, _ in unsure],
        [b for _, b in unsure],
        **thresholds,
    )
    assert found.dtype == np.int8
    return found.tolist()


def test_key_slice_iou_decides_and_its_bounds_are_strict():
    # widths 10: shifted by d, IoU = (10 - d) / (10 + d)
    assert kinds([chain(3, shifted(3.3)), chain(3, shifted(3.4))], (3, A)) == [1, -1]
    assert kinds([chain(3, shifted(5.3)), chain(3, shifted(5.4))], (3, A)) == [-1, 0]
    half = [chain(3, (10.0, 10.0, 20.0, 15.0))]
    assert kinds(half, (3, A)) == [-1]  # IoU 0.5 is not larger than theta
    assert kinds(half, (3, A), theta=0.6, theta_fp=0.5) == [-1]  # nor smaller than theta_FP
    assert kinds(half, (3, A), theta=0.4) == [1]


def test_any_slice_of_a_proposal_can_be_the_key_slice_but_no_other():
    assert kinds([chain(2, shifted(50), A, shifted(50))], (3, A)) == [1]
    assert kinds([chain(4, A, A)], (3, A)) == [0]


def test_uncertain_lesions_give_no_false_positive_and_no_true_one():
    assert kinds([chain(3, A), chain(3, shifted(50))], unsure=[(3, A)]) == [-1, 0]
    assert kinds([chain(3, A)], (3, A), unsure=[(3, A)]) == [1]
    assert kinds([chain(3, shifted(5.0))], unsure=[(3, A)]) == [-1]  # IoU 1/3


def test_box_within_a_large_ignored_region_gives_no_false_positive():
    region = (0.0, 0.0, 100.0, 100.0)
    assert kinds([chain(3, A), chain(4, A)], unsure=[(3, region)]) == [-1, 0]
    beside = (15.0, 0.0, 100.0, 100.0)
    assert kinds([chain(3, A)], unsure=[(3, beside)]) == [-1]
    assert kinds([chain(3, A)], unsure=[(3, beside)], ignore_iobb=0.51) == [0]


def test_nothing_marked_makes_all_proposals_false_and_nothing_proposed_is_nothing():
    assert kinds([chain(3, A), chain(5, A)]) == [0, 0]
    assert kinds([], (3, A), unsure=[(3, A)]) == []


@pytest.mark.parametrize("wrong", [{"theta": 1.0}, {"theta": 0.2}, {"theta_fp": -0.1}, {"ignore_iobb": 0.0}])
def test_thresholds_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="0 <= theta_fp <= theta < 1"):
        kinds([], **wrong)


KINDS = np.array([0, 1, 0, -1, 0, 1, 0, 0, -1, 0])  # two true, six false


def test_epoch_shows_each_true_positive_once_with_two_false_ones_after_it():
    order = draw_epoch(KINDS, 3, 0)
    assert order.shape == (6,)
    assert sorted(order[::3]) == [1, 5]
    assert (KINDS[np.delete(order, [0, 3])] == 0).all()


def test_false_positives_all_have_their_turn_before_one_comes_twice():
    shown = np.concatenate([np.delete(draw_epoch(KINDS, 3, epoch), [0, 3]) for epoch in range(3)])
    assert sorted(shown[:6]) == sorted(shown[6:12]) == [0, 2, 4, 6, 7, 9]


def test_few_false_positives_are_repeated_to_keep_the_ratio():
    order = draw_epoch([1, 1, 1, 0], 0, 1)
    assert len(order) == 9
    assert (order == 3).sum() == 6


def test_epochs_differ_and_repeat_by_seed():
    many = np.arange(60) % 3 == 0
    first = draw_epoch(many.astype(int), 5, 2)
    assert np.array_equal(first, draw_epoch(many.astype(int), 5, 2))
    assert not np.array_equal(first, draw_epoch(many.astype(int), 5, 3))
    assert not np.array_equal(first, draw_epoch(many.astype(int), 6, 2))


@pytest.mark.parametrize(
    ("of", "options", "told"),
    [([0, 0], {}, "got 0 and 2"), ([1, -1], {}, "got 1 and 0"), ([1, 0], {"negatives_per_positive": -1}, "0 or more")],
)
def test_epochs_that_cannot_be_drawn_are_refused(of, options, told):
    with pytest.raises(ValueError, match=told):
        draw_epoch(of, 0, 0, **options)


def test_sampler_goes_on_with_the_next_epoch_and_numbers_its_draws():
    sampler = CandidateSampler([{"kind": k} for k in KINDS], seed=3)
    assert len(sampler) == 6
    first, second = list(sampler), list(sampler)
    assert [draw.index for draw in first] == draw_epoch(KINDS, 3, 0).tolist()
    assert [draw.index for draw in second] == draw_epoch(KINDS, 3, 1).tolist()
    assert [draw.number for draw in first + second] == list(range(12))
    assert [d.index for d in CandidateSampler([{"kind": k} for k in KINDS], 3, 0)] == draw_epoch(
        KINDS, 3, 0, negatives_per_positive=0
    ).tolist()
