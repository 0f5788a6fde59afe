"""Cut a 3D patch of fixed voxels around a point out of a CT of any spacing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transforms.ct_source import AIR_HU, CTSource
from transforms.lesion_crop import crop_lesions
from transforms.resize import resize_slices
from transforms.slab import mix_slices, neighbour_weights, slices_to_read


@dataclass(frozen=True)
class PatchGrid:
    """The grid of a patch; the same for every patch, so that large and small lesions look different.

    Args:
        num_slices: D.
        interval_mm: distance of slices, mm.
        size_px: rows and columns P.
        pixel_mm: pixel spacing, mm.

    Raises:
        ValueError: a number that is not positive.
    """

    num_slices: int = 16
    interval_mm: float = 2.0
    size_px: int = 96
    pixel_mm: float = 0.8

    def __post_init__(self) -> None:
        if min(self.num_slices, self.size_px) < 1 or not min(self.interval_mm, self.pixel_mm) > 0:
            raise ValueError(f"a patch needs positive numbers, got {self}")

    def cut(self, volume: Tensor | CTSource, centre: Sequence[float], spacing_mm: Sequence[float]) -> Tensor:
        """Interpolate one patch; antialiased in plane where it is coarser than the volume.

        Only the slices needed are read, and only the pixels around the patch are resampled. Beyond the first and last
        slice these are repeated, beyond the sides there is air.

        Args:
            volume: [Z, H, W] HU of any number type, or an opened CT.
            centre: (x, y, z) voxels of the volume as boxes count them: voxel k covers [k, k + 1).
            spacing_mm: (x, y, z) of the volume.

        Returns:
            float32 [D, P, P] HU, on the CPU for an opened CT.
        """
        depth, height, width = volume.shape
        x, y, z = (float(v) for v in centre)
        lower, upper, weight = neighbour_weights(z - 0.5, self.num_slices, self.interval_mm, spacing_mm[2], depth)
        needed, lower, upper = slices_to_read(lower, upper)
        left, right = self._reach(x, spacing_mm[0], width)
        top, bottom = self._reach(y, spacing_mm[1], height)
        if isinstance(volume, CTSource):
            pixels = volume.read(needed.tolist())[:, top:bottom, left:right]
        else:
            pixels = volume[:, top:bottom, left:right][needed.to(volume.device)]
        slab = mix_slices(pixels, *(part.to(pixels.device) for part in (lower, upper, weight)))
        rows = max(1, round((bottom - top) * spacing_mm[1] / self.pixel_mm))
        columns = max(1, round((right - left) * spacing_mm[0] / self.pixel_mm))
        scale_x, scale_y = columns / (right - left), rows / (bottom - top)
        at = torch.tensor([[(x - left) * scale_x, (y - top) * scale_y] * 2], device=slab.device)
        return crop_lesions(
            resize_slices(slab, rows, columns),
            at,
            (spacing_mm[0] / scale_x, spacing_mm[1] / scale_y),
            size_mm=self.size_px * self.pixel_mm,
            size_px=self.size_px,
            outside=AIR_HU,
        )[0]

    def boxes_in(self, boxes: Tensor, centres: Tensor, spacing_mm: Sequence[float]) -> Tensor:
        """Boxes [N, 6] (x1, y1, z1, x2, y2, z2) of the volume in voxels of the patches around ``centres`` [N, 3]."""
        scale = boxes.new_tensor(
            [spacing_mm[0] / self.pixel_mm, spacing_mm[1] / self.pixel_mm, spacing_mm[2] / self.interval_mm]
        )
        middle = boxes.new_tensor([self.size_px, self.size_px, self.num_slices]) / 2
        corners = (boxes.reshape(-1, 2, 3) - centres.to(boxes)[:, None]) * scale + middle
        return corners.reshape(-1, 6)

    def _reach(self, centre: float, spacing: float, extent: int) -> tuple[int, int]:
        """First and last pixel (excluded) along x or y that a patch can see, with a margin for interpolation."""
        reach = self.size_px * self.pixel_mm / spacing / 2
        margin = 2 + 2 * math.ceil(max(1.0, self.pixel_mm / spacing))
        low = min(max(math.floor(centre - reach) - margin, 0), extent - 1)
        return low, max(min(math.ceil(centre + reach) + margin, extent), low + 1)
