from __future__ import annotations

from typing import Any

import pytest
import torch

from lesion_app.mining.bank import MinedBoxBank, match_boxes
from lesion_app.mining.selection import Detections

HERE, THERE = [10.0, 10.0, 30.0, 30.0], [60.0, 60.0, 70.0, 70.0]


def found(*boxes: list[float], scores: list[float] | None = None) -> Detections:
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "scores": torch.tensor(scores or [0.9] * len(boxes)),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
    }


def visits(bank: MinedBoxBank, *seen: Detections) -> list[list[list[float]]]:
    return [bank.visit("volume/7", s)["boxes"].tolist() for s in seen]


def test_box_counts_from_its_kth_find_on_and_goes_when_found_no_longer() -> None:
    bank = MinedBoxBank(needed=2, visits=3)
    history = visits(bank, found(HERE), found(HERE), found(), found(), found())
    # finds in the last three visits: 1, 2, 2, 1, 0
    assert history == [[], [HERE], [HERE], [], []]
    assert len(bank) == 0


def test_find_after_a_miss_still_counts_within_the_last_visits() -> None:
    assert visits(MinedBoxBank(needed=2, visits=3), found(HERE), found(), found(HERE)) == [[], [], [HERE]]


def test_latest_box_and_score_are_given() -> None:
    bank = MinedBoxBank(needed=2, visits=2)
    moved = [11.0, 10.0, 31.0, 30.0]
    bank.visit("a", found(HERE, scores=[0.8]))
    confirmed = bank.visit("a", found(moved, scores=[0.95]))
    assert confirmed["boxes"].tolist() == [moved]
    assert confirmed["scores"].tolist() == pytest.approx([0.95])


def test_slices_are_remembered_apart() -> None:
    bank = MinedBoxBank(needed=2, visits=2)
    items: list[dict[str, Any]] = [{"id": "v", "slice": 3}, {"id": "v", "slice": 4}]

    def predict(slabs: Any) -> list[Detections]:
        raise AssertionError("a bank asks the teacher nothing")

    bank.confirm(items, [found(HERE), found(THERE)], predict)
    first, second = bank.confirm(items, [found(HERE), found(HERE)], predict)
    assert first["boxes"].tolist() == [HERE]
    assert len(second["boxes"]) == 0


def test_one_of_one_keeps_exactly_what_was_found() -> None:
    bank = MinedBoxBank(needed=1, visits=1)
    assert visits(bank, found(HERE, THERE), found(THERE)) == [[HERE, THERE], [THERE]]


def test_resumed_bank_goes_on_where_the_saved_one_stopped() -> None:
    bank, resumed = MinedBoxBank(2, 3), MinedBoxBank(2, 3)
    visits(bank, found(HERE), found(THERE))
    resumed.load_state_dict(bank.state_dict())
    assert visits(bank, found(HERE)) == visits(resumed, found(HERE)) == [[HERE]]


def test_state_of_another_window_is_refused() -> None:
    with pytest.raises(ValueError, match="visits"):
        MinedBoxBank(2, 4).load_state_dict(MinedBoxBank(2, 3).state_dict())


@pytest.mark.parametrize("options", [{"needed": 0}, {"needed": 4, "visits": 3}, {"same_box_iou": 0.0}])
def test_impossible_rules_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        MinedBoxBank(**options)


def test_each_known_box_is_matched_once_the_higher_score_first() -> None:
    boxes = torch.tensor([HERE, HERE, THERE])
    partner = match_boxes(boxes, torch.tensor([0.5, 0.9, 0.7]), torch.tensor([HERE]), 0.5)
    assert partner.tolist() == [-1, 0, -1]


def test_matching_with_nothing_known_or_nothing_found() -> None:
    assert match_boxes(torch.zeros(0, 4), torch.zeros(0), torch.tensor([HERE]), 0.5).tolist() == []
    assert match_boxes(torch.tensor([HERE]), torch.ones(1), torch.zeros(0, 4), 0.5).tolist() == [-1]
