"""Mask R-CNN's third branch: an object's shape within its box, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from lesion_app.networks.pyramid_roi_align import pool_boxes
from lesion_app.networks.resnet_nd import conv_block


class MaskHeadND(nn.Module):
    """Four convolutions, one that doubles the size, and a mask for each class.

    He et al., "Mask R-CNN", ICCV 2017, figure 4 (right).

    Args:
        dim: 2 or 3.
        in_channels: of the pyramid.
        num_classes: foreground classes.
        channels: of the hidden layers.
    """

    def __init__(self, dim: int, in_channels: int, num_classes: int, channels: int) -> None:
        super().__init__()
        widths = [in_channels] + [channels] * 4
        self.layers = nn.Sequential(*(conv_block(dim, a, b, 3) for a, b in pairwise(widths)))
        self.grow = Conv[Conv.CONVTRANS, dim](channels, channels, 2, stride=2)
        self.classes = Conv[Conv.CONV, dim](channels, num_classes, 1)

    def forward(self, pooled: Tensor) -> Tensor:
        """``[R, C, (d,) h, w]`` pooled features -> logits ``[R, num_classes, (2d,) 2h, 2w]``, float32."""
        return self.classes(F.relu(self.grow(self.layers(pooled)))).float()


def masks_in_boxes(masks: Tensor, boxes: Tensor, output_size: Sequence[int], sampling_ratio: int) -> Tensor:
    """What of each mask lies in its box, on the grid of the mask head, 0 or 1.

    Args:
        masks: ``[P, (D,) H, W]``, one a box.
        boxes: ``[P, 2 * dim]``.
        output_size: ((d,) h, w).
        sampling_ratio: points along each side of a cell.

    Returns:
        float32 ``[P, (d,) h, w]``.
    """
    stride = [1] * len(output_size)
    pooled = pool_boxes(masks.float()[:, None], list(boxes.float()[:, None]), output_size, stride, sampling_ratio)
    return (pooled[:, 0] >= 0.5).float()


def masks_in_image(probabilities: Tensor, boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Masks of boxes laid back into the image, linearly interpolated; 0 outside the boxes.

    Args:
        probabilities: ``[N, (d,) h, w]``, 0..1.
        boxes: ``[N, 2 * dim]``, sides > 0.
        size: ((D,) H, W) of the image.

    Returns:
        ``[N, (D,) H, W]``.
    """
    dim = len(size)
    found = probabilities
    for axis in range(dim):  # interpolation is separable: one axis after the other, x last
        low = boxes[:, dim - 1 - axis, None]
        high = boxes[:, 2 * dim - 1 - axis, None]
        cells = probabilities.shape[1 + axis]
        centre = torch.arange(size[axis], device=boxes.device, dtype=boxes.dtype) + 0.5
        share = (centre - low) / (high - low)
        # A box thinner than a pixel still has the pixel its middle lies in.
        middle = ((low + high) / 2).floor() + 0.5
        inside = ((share >= 0) & (share < 1)) | (centre == middle)
        place = (share * cells - 0.5).clamp(0, cells - 1)
        taps = torch.arange(cells, device=boxes.device, dtype=boxes.dtype)
        weight = (1 - (place[:, :, None] - taps).abs()).clamp(min=0) * inside[:, :, None]  # [N, size, cells]
        found = (
            torch.matmul(weight.to(found), found.movedim(1 + axis, 1).flatten(2))
            .unflatten(2, [n for d, n in enumerate(found.shape[1:]) if d != axis])
            .movedim(1, 1 + axis)
        )
    return found
