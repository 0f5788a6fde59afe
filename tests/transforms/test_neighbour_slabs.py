from __future__ import annotations

import pytest
import torch

from lesion_app.errors import InputError
from transforms.neighbour_slabs import NeighbourSlabsd


def test_tall_slab_is_cut_into_the_middle_and_its_two_neighbours() -> None:
    tall = torch.arange(7.0)[:, None, None].expand(7, 2, 2)
    item = NeighbourSlabsd(num_slices=3, step=2)({"image": tall, "other": 1})
    assert item["image"][:, 0, 0].tolist() == [2, 3, 4]
    assert [n[:, 0, 0].tolist() for n in item["neighbours"]] == [[0, 1, 2], [4, 5, 6]]
    assert item["other"] == 1


def test_slab_of_another_height_is_refused_with_the_right_number() -> None:
    with pytest.raises(InputError, match="set num_slices of LoadSlabd to 5"):
        NeighbourSlabsd(num_slices=3)({"image": torch.zeros(3, 4, 4)})


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        NeighbourSlabsd(num_slices=3, step=0)
