"""Masks of detections in a size that a whole volume of them can be kept in: on a grid within their boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lesion_app.networks.mask_head_nd import masks_in_image
from lesion_app.networks.pyramid_roi_align import pool_boxes

GRID_2D = (32, 32)
"""Cells (rows, columns) of a mask within its box; the mask head of Mask R-CNN has 28 x 28."""
GRID_3D = (16, 32, 32)


def masks_to_grid(masks: Tensor, boxes: Tensor) -> Tensor:
    """Masks ``[N, (D,) H, W]`` of the whole image -> ``[N, 16, 32, 32]`` or ``[N, 32, 32]`` within their boxes."""
    grid = GRID_2D if masks.ndim == 3 else GRID_3D
    if not len(masks):
        return masks.new_zeros((0, *grid))
    return pool_boxes(masks[:, None], list(boxes[:, None].to(masks.device)), grid, [1] * len(grid), 1)[:, 0]


def outline_in_slice(
    grid: Tensor, box: Sequence[float], size: tuple[int, int], threshold: float = 0.5
) -> tuple[int, int, np.ndarray]:
    """The outline of a mask ``grid`` ``[h, w]`` laid into ``box`` (x1, y1, x2, y2) px of a slice of ``size`` (H, W).

    Returns:
        ``(x, y, mask)`` as in ``OutlinedTracklet``. A mask that reaches ``threshold`` nowhere keeps its likeliest
        pixels, so that no lesion is without a voxel.
    """
    x1, y1, x2, y2 = (float(v) for v in box)
    left, top, right, bottom = _window((x1, y1, x2, y2), size)
    moved = torch.tensor([[x1 - left, y1 - top, x2 - left, y2 - top]], dtype=torch.float32)
    found = masks_in_image(grid[None].float().cpu(), moved, (bottom - top, right - left))[0].numpy()
    return left, top, found >= min(threshold, float(found.max()))


def outline_in_volume(
    grid: Tensor,
    box: Sequence[float],
    slices: Sequence[int],
    size: tuple[int, int],
    threshold: float = 0.5,
) -> dict[int, tuple[int, int, np.ndarray]]:
    """The outlines of a mask ``grid`` ``[d, h, w]`` laid into ``box`` (x1, y1, z1, x2, y2, z2) voxels of a volume.

    Args:
        slices: those that the lesion is on, consecutive.
        size: (H, W) of the volume's slices.

    Returns:
        slice -> ``(x, y, mask)`` as in ``OutlinedTracklet``, of the slices on which the mask reaches ``threshold``;
        where it does so nowhere, of its likeliest voxels.
    """
    x1, y1, z1, x2, y2, z2 = (float(v) for v in box)
    left, top, right, bottom = _window((x1, y1, x2, y2), size)
    first = slices[0]
    moved = torch.tensor([[x1 - left, y1 - top, z1 - first, x2 - left, y2 - top, z2 - first]], dtype=torch.float32)
    found = masks_in_image(grid[None].float().cpu(), moved, (len(slices), bottom - top, right - left))[0].numpy()
    found = found >= min(threshold, float(found.max()))
    return {z: (left, top, mask) for z, mask in zip(slices, found) if mask.any()}


def _window(box: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Pixels (x1, y1, x2, y2) that a box touches, one at least, within a slice of ``size`` (H, W)."""
    height, width = size
    left, top = min(max(math.floor(box[0]), 0), width - 1), min(max(math.floor(box[1]), 0), height - 1)
    return left, top, max(min(math.ceil(box[2]), width), left + 1), max(min(math.ceil(box[3]), height), top + 1)
