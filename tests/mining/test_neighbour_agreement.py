from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from lesion_app.errors import InputError
from lesion_app.mining.neighbour_agreement import NeighbourAgreement
from lesion_app.mining.selection import Detections

LESION, VESSEL = [10.0, 10.0, 30.0, 30.0], [60.0, 60.0, 70.0, 70.0]


def found(*rows: tuple[list[float], float]) -> Detections:
    return {
        "boxes": torch.tensor([box for box, _ in rows]).reshape(-1, 4),
        "scores": torch.tensor([score for _, score in rows]),
        "labels": torch.ones(len(rows), dtype=torch.int64),
    }


def item(*marks: float) -> dict[str, Any]:
    """An item whose neighbouring slabs are told apart by their value."""
    return {"neighbours": [torch.full((3, 8, 8), mark) for mark in marks]}


class Teacher:
    def __init__(self, says: dict[float, Detections]) -> None:
        self.says = says
        self.asked = 0

    def __call__(self, slabs: Sequence[Tensor]) -> list[Detections]:
        self.asked += len(slabs)
        return [self.says[float(slab[0, 0, 0])] for slab in slabs]


def test_box_found_again_next_door_is_kept_and_a_chance_find_goes() -> None:
    teacher = Teacher({1.0: found(), 2.0: found(([12.0, 10, 32, 30], 0.6))})
    (kept,) = NeighbourAgreement().confirm([item(1, 2)], [found((LESION, 0.9), (VESSEL, 0.95))], teacher)
    assert kept["boxes"].tolist() == [LESION]
    assert kept["scores"].tolist() == pytest.approx([0.9])


def test_weak_or_distant_finds_do_not_agree() -> None:
    teacher = Teacher({1.0: found((LESION, 0.49)), 2.0: found(([25.0, 10, 45, 30], 0.9))})
    (kept,) = NeighbourAgreement().confirm([item(1, 2)], [found((LESION, 0.9))], teacher)
    assert len(kept["boxes"]) == 0


def test_both_neighbours_can_be_asked_for() -> None:
    teacher = Teacher({1.0: found(), 2.0: found((LESION, 0.9))})
    (kept,) = NeighbourAgreement(needed=2).confirm([item(1, 2)], [found((LESION, 0.9))], teacher)
    assert len(kept["boxes"]) == 0


def test_every_item_gets_its_own_neighbours_and_empty_ones_cost_nothing() -> None:
    teacher = Teacher({3.0: found((VESSEL, 0.9)), 4.0: found(), 5.0: found((LESION, 0.9)), 6.0: found()})
    mined = [found(), found((VESSEL, 0.9)), found((VESSEL, 0.9))]
    kept = NeighbourAgreement().confirm([item(1, 2), item(3, 4), item(5, 6)], mined, teacher)
    assert [len(k["boxes"]) for k in kept] == [0, 1, 0]
    assert teacher.asked == 4


def test_items_without_neighbours_are_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match="NeighbourSlabsd"):
        NeighbourAgreement().confirm([{}], [found((LESION, 0.9))], Teacher({}))
