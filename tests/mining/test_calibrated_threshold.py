"""Thresholds that keep a share of boxes right."""

from __future__ import annotations

import pytest
import torch

from lesion_app.mining.calibrated_threshold import CalibratedThreshold, threshold_at_precision

SCORES = torch.tensor([0.2, 0.9, 0.6, 0.8, 0.4])
RIGHT = torch.tensor([True, True, False, True, False])


def slow_threshold(scores: list[float], right: list[bool], precision: float, lowest: float) -> float:
    found = [1.0]
    for score in sorted(set(scores)):
        above = [r for s, r in zip(scores, right) if s >= score]
        if score >= lowest and sum(above) / len(above) >= precision:
            return score
    return found[0]


@pytest.mark.parametrize(("precision", "expected"), [(1.0, 0.8), (0.6, 0.2), (0.65, 0.6), (0.67, 0.8)])
def test_threshold_is_the_lowest_that_keeps_the_precision(precision: float, expected: float) -> None:
    assert threshold_at_precision(SCORES, RIGHT, precision) == pytest.approx(expected)


def test_threshold_equals_the_slow_rule_with_ties() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        scores = torch.randint(0, 8, (12,), generator=generator) / 8
        right = torch.rand(12, generator=generator) < scores
        expected = slow_threshold(scores.tolist(), right.tolist(), 0.7, 0.25)
        assert threshold_at_precision(scores, right, 0.7, 0.25) == expected


def test_nothing_precise_enough_means_that_nothing_is_mined() -> None:
    assert threshold_at_precision(torch.tensor([0.9]), torch.tensor([False]), 0.5) == 1.0
    assert threshold_at_precision(torch.zeros(0), torch.zeros(0, dtype=torch.bool), 0.5) == 1.0


def boxes(*sides: float) -> torch.Tensor:
    return torch.tensor([[0.0, 0.0, side, side / 2] for side in sides])


def test_threshold_falls_slowly_and_rises_at_once() -> None:
    threshold = CalibratedThreshold(precision=1.0, start=0.9, lowest=0.1, fall=0.05, support=1)
    low = threshold.calibrate(boxes(9, 9), torch.tensor([0.2, 0.3]), torch.tensor([True, True]))
    assert low.tolist() == pytest.approx([0.85])
    high = threshold.calibrate(boxes(9, 9), torch.tensor([0.97, 0.95]), torch.tensor([True, False]))
    assert high.tolist() == pytest.approx([0.97])
    assert threshold(boxes(9, 90, 900)).tolist() == pytest.approx([0.97] * 3)


def test_every_size_has_its_own_threshold() -> None:
    threshold = CalibratedThreshold(precision=1.0, lowest=0.1, fall=1.0, edges_px=(10, 20), support=1)
    threshold.calibrate(
        boxes(9, 10, 19, 20, 50), torch.tensor([0.9, 0.5, 0.4, 0.3, 0.2]), torch.tensor([False, True, True, True, True])
    )
    assert threshold(boxes(9.9, 10, 19.9, 20)).tolist() == pytest.approx([1.0, 0.4, 0.4, 0.2])
    assert threshold.figures() == pytest.approx(
        {"score_threshold_0": 1.0, "score_threshold_1": 0.4, "score_threshold_2": 0.2}
    )


def test_threshold_rests_on_enough_right_boxes() -> None:
    scores, right = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, True, True])
    assert threshold_at_precision(scores, right, 0.9, support=3) == pytest.approx(0.7)
    assert threshold_at_precision(scores, right, 0.9, support=4) == 1.0


def test_saved_thresholds_are_taken_up() -> None:
    threshold = CalibratedThreshold(start=0.9, edges_px=(10,), support=1)
    threshold.calibrate(boxes(5), torch.tensor([0.95]), torch.tensor([True]))
    other = CalibratedThreshold(start=0.5, edges_px=(10,))
    other.load_state_dict(threshold.state_dict())
    assert torch.equal(other.values, threshold.values)
    with pytest.raises(ValueError, match="2 sizes"):
        CalibratedThreshold().load_state_dict(threshold.state_dict())


@pytest.mark.parametrize(("values", "told"), [({"precision": 1.2}, "precision"), ({"edges_px": (9, 9)}, "edges_px")])
def test_values_that_make_no_sense_are_refused(values: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        CalibratedThreshold(**values)
