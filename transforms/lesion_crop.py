"""Cut a lesion with its surroundings out of a slab at a fixed physical size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


def crop_lesions(
    slabs: Tensor,
    boxes: Tensor,
    spacing_mm: Sequence[float],
    *,
    size_mm: float = 50.0,
    size_px: int = 48,
    outside: float = -1024.0,
) -> Tensor:
    """Cut one square around the centre of every box, interpolated bilinearly.

    Args:
        slabs: [N, S, H, W] or one slab [S, H, W] for all boxes, HU or scaled.
        boxes: [N, 4] (x1, y1, x2, y2) px of the slabs, half-open.
        spacing_mm: (x, y, ...) of their pixels.
        size_mm: side of the square, the same for every lesion, so that large and small ones look different.
        size_px: pixels along a side of the result.
        outside: value beyond the border of the slab.

    Returns:
        float32 [N, S, size_px, size_px].

    Raises:
        ValueError: a size or spacing that is not positive, or as many slabs as boxes are missing.
    """
    if not size_mm > 0 or size_px < 1 or not min(spacing_mm[:2]) > 0:
        raise ValueError(f"sizes and spacing must be positive, got {size_mm} mm, {size_px} px, {tuple(spacing_mm)}")
    boxes = boxes.float().reshape(-1, 4)
    if slabs.ndim == 3:
        slabs = slabs[None].expand(len(boxes), *slabs.shape)
    if slabs.ndim != 4 or len(slabs) != len(boxes):
        raise ValueError(f"expected one slab a box, got {list(slabs.shape)} for {len(boxes)} boxes")
    if not len(boxes):
        return slabs.new_zeros((0, slabs.shape[1], size_px, size_px), dtype=torch.float32)
    height, width = slabs.shape[-2:]
    # grid_sample counts the slab's outer edges as -1 and 1, as boxes count them 0 and W.
    centre = (boxes[:, :2] + boxes[:, 2:]) / boxes.new_tensor([width, height]) - 1.0
    reach = boxes.new_tensor([size_mm / (spacing_mm[0] * width), size_mm / (spacing_mm[1] * height)])
    theta = boxes.new_zeros((len(boxes), 2, 3))
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = reach[0], reach[1], centre
    grid = affine_grid(theta, [len(boxes), slabs.shape[1], size_px, size_px], align_corners=False)
    # Zeros are what grid_sample pads with: shifted, so that they mean ``outside``.
    cut = grid_sample(slabs.float() - outside, grid.to(slabs.device), padding_mode="zeros", align_corners=False)
    return cut + outside
