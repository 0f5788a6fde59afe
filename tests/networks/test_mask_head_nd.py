from __future__ import annotations

import torch

from lesion_app.networks.mask_head_nd import MaskHeadND, masks_in_boxes, masks_in_image


def test_head_doubles_the_size() -> None:
    assert MaskHeadND(2, 6, 2, 4)(torch.rand(3, 6, 14, 14)).shape == (3, 2, 28, 28)
    assert MaskHeadND(3, 6, 1, 4)(torch.rand(2, 6, 5, 14, 14)).shape == (2, 1, 10, 28, 28)


def test_mask_in_its_box_and_back() -> None:
    mask = torch.zeros(1, 6, 20, 30)
    mask[0, 2:4, 5:13, 8:16] = 1
    box = torch.tensor([[4.0, 1, 0, 20, 17, 6]])
    inside = masks_in_boxes(mask, box, (6, 16, 16), 2)
    expected = torch.zeros(6, 16, 16)
    expected[2:4, 4:12, 4:12] = 1
    assert torch.equal(inside[0], expected)
    assert torch.equal(masks_in_image(inside, box, (6, 20, 30)), mask)


def test_outside_of_its_box_there_is_nothing() -> None:
    found = masks_in_image(torch.ones(1, 28, 28), torch.tensor([[3.0, 4, 9, 6]]), (10, 12))
    assert found[0].nonzero().tolist() == [[y, x] for y in (4, 5) for x in range(3, 9)]
    assert torch.equal(found[found > 0], torch.ones(12))


def test_box_thinner_than_a_pixel_keeps_one() -> None:
    found = masks_in_image(torch.ones(1, 4, 4), torch.tensor([[3.6, 4.1, 3.9, 4.3]]), (10, 12))
    assert found[0].nonzero().tolist() == [[4, 3]]


def test_no_masks() -> None:
    assert masks_in_image(torch.zeros(0, 28, 28), torch.zeros(0, 4), (10, 12)).shape == (0, 10, 12)
