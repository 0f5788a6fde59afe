"""Load the patch around a candidate of a detector, as false-positive reduction is trained on it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from monai.transforms import RandomizableTransform

from transforms.ct_reader import open_ct
from transforms.lesion_patch import PatchGrid


class RandCandidatePatchd(RandomizableTransform):
    """Cut the patch around a candidate out of its CT, shifted, scaled and turned over at random.

    Reads ``item["image"]`` (path), ``item["spacing_mm"]``, ``item["slices"]`` as `open_ct` does, and
    ``item["candidate"]``: (x1, y1, z1, x2, y2, z2) px and slices of that CT, z counted from its first slice,
    half-open. Writes ``item["patch"]`` float32 [1, D, P, P] HU and ``item["roi"]`` float32 [6], the candidate in voxels
    of the patch.

    Args:
        grid: of the patch.
        scale_range: factor of the apparent size in plane.
        max_shift_px: jitter of the patch's centre in plane, px of the patch.
        flip_z_probability: chance that the slices come in the opposite order: some file formats number them from the
            head, others from the feet.
    """

    def __init__(
        self,
        grid: PatchGrid,
        scale_range: Sequence[float] = (0.8, 1.2),
        max_shift_px: float = 8.0,
        flip_z_probability: float = 0.5,
    ) -> None:
        super().__init__(prob=1.0)
        self.grid = grid
        self.smallest, self.largest = scale_range
        self.max_shift_px = max_shift_px
        self.flip_z_probability = flip_z_probability
        if not 0 < self.smallest <= self.largest or max_shift_px < 0 or not 0 <= flip_z_probability <= 1:
            raise ValueError(
                f"expected 0 < low <= high scale, a shift >= 0 and a probability, got {tuple(scale_range)}, "
                f"{max_shift_px} and {flip_z_probability}"
            )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        source = open_ct(item["image"], spacing_mm=item.get("spacing_mm"), slices=item.get("slices"))
        spacing = source.geometry.spacing_mm
        scale = float(self.R.uniform(self.smallest, self.largest))
        shift = self.R.uniform(-self.max_shift_px, self.max_shift_px, 2)
        turned = bool(self.R.uniform() < self.flip_z_probability)

        grid = replace(self.grid, pixel_mm=self.grid.pixel_mm / scale)
        box = torch.as_tensor(item["candidate"], dtype=torch.float64)
        centre = (box[:3] + box[3:]) / 2
        centre[:2] += torch.from_numpy(shift) * grid.pixel_mm / torch.tensor(spacing[:2], dtype=torch.float64)
        patch = grid.cut(source, centre.tolist(), spacing)
        roi = grid.boxes_in(box[None], centre[None], spacing)[0].float()
        # The candidate lies in the middle along z, so its box stays where it is.
        item["patch"], item["roi"] = (patch.flip(0) if turned else patch)[None], roi
        return item


RandCandidatePatchD = RandCandidatePatchDict = RandCandidatePatchd
