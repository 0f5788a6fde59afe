from __future__ import annotations

import math

import pytest
import torch

from lesion_app.boxes.ellipsoid_masks import ellipsoid_masks


def test_circle_in_a_square_of_four() -> None:
    found = ellipsoid_masks(torch.tensor([[1.0, 1, 5, 5]]), (6, 6))[0]
    expected = [[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]]
    assert found[1:5, 1:5].int().tolist() == expected
    assert int(found.sum()) == 12


def test_padding_is_taken_off_first() -> None:
    box, small = torch.tensor([[2.0, 4, 22, 18]]), torch.tensor([[5.0, 6, 19, 16]])
    assert torch.equal(ellipsoid_masks(box, (24, 30), torch.tensor([3.0, 2.0])), ellipsoid_masks(small, (24, 30)))


def test_volume_of_an_ellipsoid() -> None:
    found = ellipsoid_masks(torch.tensor([[0.0, 0, 0, 40, 20, 30]]), (30, 20, 40))
    assert int(found.sum()) == pytest.approx(40 * 20 * 30 * math.pi / 6, rel=0.01)


def test_object_of_one_voxel_and_one_within_a_voxel_keep_it() -> None:
    boxes = torch.tensor([[3.0, 2, 4, 3], [5.6, 1.1, 5.9, 1.3], [0.0, 0.0, 3.0, 3.0]])
    found = ellipsoid_masks(boxes, (8, 8), 4.0)
    assert [m.nonzero().tolist() for m in found] == [[[2, 3]], [[1, 5]], [[1, 1]]]


def test_part_outside_of_the_image_is_cut_off() -> None:
    whole = ellipsoid_masks(torch.tensor([[4.0, 4, 14, 14]]), (20, 20))[0]
    assert torch.equal(ellipsoid_masks(torch.tensor([[-3.0, -2, 7, 8]]), (9, 9))[0], whole[6:15, 7:16])


def test_no_boxes() -> None:
    assert ellipsoid_masks(torch.zeros(0, 6), (2, 3, 4)).shape == (0, 2, 3, 4)
