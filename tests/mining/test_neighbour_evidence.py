from __future__ import annotations

import pytest
import torch

from lesion_app.errors import InputError
from lesion_app.mining.neighbour_evidence import NeighbourEvidence
from tests.mining.test_neighbour_agreement import LESION, VESSEL, Teacher, found, item


def test_doubtful_find_that_is_sure_next_door_is_kept_with_that_score() -> None:
    teacher = Teacher({1.0: found(([12.0, 10, 32, 30], 0.95)), 2.0: found((VESSEL, 0.8))})
    (kept,) = NeighbourEvidence(tau=0.9).confirm([item(1, 2)], [found((LESION, 0.6), (VESSEL, 0.6))], teacher)
    assert kept["boxes"].tolist() == [LESION]
    assert kept["scores"].tolist() == pytest.approx([0.95])


def test_sure_find_needs_no_neighbour() -> None:
    teacher = Teacher({1.0: found(), 2.0: found((LESION, 0.2))})
    (kept,) = NeighbourEvidence(tau=0.9).confirm([item(1, 2)], [found((LESION, 0.92), (VESSEL, 0.8))], teacher)
    assert kept["boxes"].tolist() == [LESION]
    assert kept["scores"].tolist() == pytest.approx([0.92])


def test_sure_find_beside_the_box_is_no_evidence() -> None:
    teacher = Teacher({1.0: found(([25.0, 10, 45, 30], 0.99)), 2.0: found()})
    (kept,) = NeighbourEvidence(tau=0.9).confirm([item(1, 2)], [found((LESION, 0.6))], teacher)
    assert len(kept["boxes"]) == 0


def test_strongest_of_several_overlapping_finds_counts() -> None:
    teacher = Teacher({1.0: found((LESION, 0.5), ([11.0, 10, 30, 30], 0.91)), 2.0: found((LESION, 0.7))})
    (kept,) = NeighbourEvidence(tau=0.9).confirm([item(1, 2)], [found((LESION, 0.6))], teacher)
    assert kept["scores"].tolist() == pytest.approx([0.91])


def test_items_without_a_find_are_not_looked_at() -> None:
    teacher = Teacher({3.0: found((VESSEL, 0.9)), 4.0: found()})
    kept = NeighbourEvidence().confirm([item(1, 2), item(3, 4)], [found(), found((VESSEL, 0.5))], teacher)
    assert [len(k["boxes"]) for k in kept] == [0, 1]
    assert teacher.asked == 2


def test_labels_stay_with_their_boxes() -> None:
    mined = found((VESSEL, 0.5), (LESION, 0.95))
    mined["labels"] = torch.tensor([7, 3])
    (kept,) = NeighbourEvidence().confirm([item(1)], [mined], Teacher({1.0: found()}))
    assert kept["labels"].tolist() == [3]


def test_items_without_neighbours_are_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match="NeighbourSlabsd"):
        NeighbourEvidence().confirm([{}], [found((LESION, 0.9))], Teacher({}))


@pytest.mark.parametrize("tau", [0.0, 1.1])
def test_tau_out_of_range_is_refused(tau: float) -> None:
    with pytest.raises(ValueError, match="tau"):
        NeighbourEvidence(tau=tau)
