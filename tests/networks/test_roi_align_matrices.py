"""RoIAlign with a gradient by matrices equals torchvision's, forwards and backwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import roi_align

from lesion_app.networks.roi_align_matrices import roi_align_matrices


def some_boxes(count: int, generator: torch.Generator) -> Tensor:
    """Inside, across the border and wholly outside of a map of 52 x 44 px."""
    corner = torch.rand((count, 2), generator=generator) * 80 - 20
    return torch.cat((corner, corner + torch.rand((count, 2), generator=generator) * 50), dim=1)


@pytest.mark.parametrize(("cells", "ratio", "scale"), [(7, 2, 0.25), (3, 1, 0.5), (5, 3, 1.0)])
def test_values_and_gradient_equal_torchvisions(cells: int, ratio: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn((3, 6, 11, 13), generator=generator).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    boxes = some_boxes(40, generator)
    parts = [boxes[:15], boxes[15:15], boxes[15:]]  # one image without boxes
    pooled, expected = (
        roi_align_matrices(ours, parts, cells, scale, ratio),
        roi_align(theirs, parts, cells, scale, ratio),
    )
    torch.testing.assert_close(pooled, expected)
    weight = torch.randn(pooled.shape, generator=generator)
    (pooled * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)


def test_image_without_boxes_gets_a_gradient_of_zero() -> None:
    features = torch.randn(2, 4, 8, 8, requires_grad=True)
    roi_align_matrices(
        features, [torch.zeros(0, 4), torch.tensor([[4.0, 4.0, 20.0, 20.0]])], 7, 0.25, 2
    ).sum().backward()
    assert features.grad is not None
    assert features.grad[0].abs().max() == 0
    assert features.grad[1].sum() == pytest.approx(4 * 49, rel=1e-4)  # every cell's weights sum to 1


def test_bfloat16_map_gets_its_gradient_in_its_own_precision() -> None:
    features = torch.randn(1, 8, 9, 9).bfloat16().requires_grad_()
    roi_align_matrices(features, [torch.tensor([[4.0, 4.0, 28.0, 20.0]])], 7, 0.25, 2).sum().backward()
    assert features.grad is not None
    assert features.grad.dtype == torch.bfloat16
