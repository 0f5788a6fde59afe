"""RoIAlign by rows equals torchvision's."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import roi_align

from lesion_app.networks.roi_align_rows import roi_align_rows


@pytest.mark.parametrize(("cells", "ratio", "scale"), [(7, 2, 0.25), (3, 1, 0.5), (5, 3, 1.0)])
def test_pooled_boxes_equal_torchvisions(cells: int, ratio: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn((2, 6, 11, 13), generator=generator)
    corner = torch.rand((40, 2), generator=generator) * 60 - 10
    boxes = torch.cat((corner, corner + torch.rand((40, 2), generator=generator) * 50), dim=1)
    parts = [boxes[:15], boxes[15:]]
    expected = roi_align(features, parts, cells, scale, ratio).flatten(2).transpose(1, 2)
    torch.testing.assert_close(roi_align_rows(features, parts, cells, scale, ratio), expected, atol=1e-5, rtol=1e-4)


def test_box_far_outside_gives_zero_and_a_point_gives_its_cell() -> None:
    features = torch.arange(12.0).reshape(1, 1, 3, 4)
    outside = roi_align_rows(features, [torch.tensor([[50.0, 50.0, 60.0, 60.0]])], 2, 1.0, 1)
    assert outside.abs().max() == 0
    # A box of one cell, one sample: at its centre, half-way between cells 5, 6, 9 and 10.
    point = roi_align_rows(features, [torch.tensor([[1.0, 1.0, 2.0, 2.0]])], 1, 1.0, 1)
    assert point.item() == pytest.approx((5 + 6 + 9 + 10) / 4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradient_of_the_map_equals_torchvisions(layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    theirs = torch.randn((3, 6, 11, 13), generator=generator).requires_grad_()
    ours = theirs.detach().contiguous(memory_format=layout).requires_grad_()
    corner = torch.rand((40, 2), generator=generator) * 60 - 10
    boxes = torch.cat((corner, corner + torch.rand((40, 2), generator=generator) * 50), dim=1).requires_grad_()
    parts = [boxes[:15], boxes[15:15], boxes[15:]]  # one image without boxes
    expected = roi_align(theirs, [p.detach() for p in parts], 7, 0.25, 2)
    weight = torch.randn(expected.shape, generator=generator)
    (expected * weight).sum().backward()
    pooled = roi_align_rows(ours, parts, 7, 0.25, 2).transpose(1, 2).unflatten(2, (7, 7))
    (pooled * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)
    assert boxes.grad is None


def test_bfloat16_map_gets_its_gradient() -> None:
    exact = torch.randn(1, 8, 9, 9).bfloat16().float().requires_grad_()
    low = exact.detach().bfloat16().requires_grad_()
    box = [torch.tensor([[4.0, 4.0, 28.0, 20.0]])]
    for features in (exact, low):
        roi_align_rows(features, box, 7, 0.25, 2).float().square().sum().backward()
    assert low.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(low.grad.float(), exact.grad, atol=0.1, rtol=0.1)


def test_no_boxes_give_no_rows() -> None:
    features = torch.randn(2, 6, 8, 8)
    assert roi_align_rows(features, [torch.zeros(0, 4), torch.zeros(0, 4)], 7, 0.25, 2).shape == (0, 49, 6)


def test_bfloat16_map_is_pooled_in_its_own_precision() -> None:
    features = torch.randn(1, 8, 9, 9)
    box = [torch.tensor([[4.0, 4.0, 28.0, 20.0]])]
    low = roi_align_rows(features.bfloat16(), box, 7, 0.25, 2)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), roi_align_rows(features, box, 7, 0.25, 2), atol=0.05, rtol=0.05)
