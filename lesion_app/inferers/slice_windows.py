"""Which three-slice images a volume's slabs are made of, and which of them slabs share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class WindowPlan:
    """Images to encode for a volume and the slabs that use them.

    Args:
        image_slices: ``[I, 3]`` float64, slice positions (fractional indices, clamped to the volume) of every
            distinct image, ordered by their central position.
        windows: ``[Z, M]`` int64, for the slab around each slice the indices of its M images in order.
        last_use: ``[I]`` int64, the last slab that uses the image.
    """

    image_slices: np.ndarray
    windows: np.ndarray
    last_use: np.ndarray


def plan_windows(depth: int, spacing_z_mm: float, num_images: int, interval_mm: float) -> WindowPlan:
    """Plan the slabs of ``3 * num_images`` slices around every slice of a volume.

    Neighbours lie ``interval_mm`` apart; beyond the volume its edge slices are repeated. Images of equal slice
    positions (to 1e-6 of a slice) are one image, which is where slabs share work: at spacings that divide the
    distance of two images (6 mm for nine slices at 2 mm) every image is used by ``num_images`` slabs.

    Args:
        depth: slices Z of the volume.
        spacing_z_mm: distance of two slices.
        num_images: M images of three slices in a slab, odd.
        interval_mm: distance of two neighbours in a slab.

    Raises:
        ValueError: on a depth, spacing or interval that is not positive.
    """
    if depth < 1 or not spacing_z_mm > 0 or not interval_mm > 0:
        raise ValueError(f"depth, spacing and interval must be positive, got {depth}, {spacing_z_mm}, {interval_mm}")
    step = interval_mm / spacing_z_mm
    image = np.arange(num_images) - num_images // 2
    offsets = (3 * image[:, None] + np.array([-1, 0, 1])) * step
    positions = np.clip(np.arange(depth)[:, None, None] + offsets, 0, depth - 1).reshape(-1, 3)
    slices, index = np.unique(np.round(positions, 6), axis=0, return_inverse=True)
    windows = index.reshape(depth, num_images)
    last_use = np.zeros(len(slices), dtype=np.int64)
    np.maximum.at(last_use, windows.ravel(), np.repeat(np.arange(depth), num_images))
    return WindowPlan(slices, windows, last_use)


def interpolate_slices(volume: Tensor, positions: np.ndarray) -> Tensor:
    """Slices of ``volume`` ``[Z, H, W]`` (tensor) at fractional ``positions``, linear, float32.

    ``positions`` has any shape ``[...]`` within [0, Z - 1]; the result is ``[..., H, W]``.
    """
    lower = np.floor(positions).astype(np.int64)
    upper = np.minimum(lower + 1, volume.shape[0] - 1)
    weight = torch.from_numpy((positions - lower).astype(np.float32)).to(volume.device)[..., None, None]
    below = volume[torch.from_numpy(lower)].float()
    if not bool(weight.any()):
        return below
    return below.lerp(volume[torch.from_numpy(upper)].float(), weight)
