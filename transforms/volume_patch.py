"""Random 3D patches of a CT with the boxes in them, as a 3D detector is trained on them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from monai.transforms import RandomizableTransform
from torch import Tensor

from lesion_app.boxes.ellipsoid_masks import LabelMasks, ellipsoid_masks
from transforms.ct_reader import open_ct
from transforms.lesion_patch import PatchGrid

Axis = Literal["x", "y", "z"]


class RandVolumePatchd(RandomizableTransform):
    """Cut a patch out of a CT, around a lesion or anywhere, scaled and mirrored at random.

    Jaeger et al., "Retina U-Net", section 4.3 ("oversampling of foreground regions is applied when training on patch
    crops"), with the rules of the published program (``lidc_exp/data_loader.py``): with a chance of a half a patch
    holds the centre of a lesion drawn at random, at least an eighth of the patch away from its sides; patches lie
    within the volume as far as it is large enough.

    Reads ``item["image"]`` (path), ``item["spacing_mm"]`` and ``item["slices"]`` as `open_ct` does, and ``boxes``,
    ``labels``, ``ignore`` of ``volume_patch_items``. Writes ``image`` float32 [1, D, P, P] HU, ``boxes`` float32 [N, 6]
    and ``ignore`` float32 [M, 6] in voxels of the patch, clipped to it, ``labels`` int64 [N] and ``masks`` bool
    [N, D, P, P]. A lesion of which less than ``min_visible`` lies in the patch becomes a region to ignore.

    Args:
        grid: of the patch.
        foreground_probability: chance of a patch around a lesion, where there is one.
        margin: see above, share of the patch's side.
        scale_range: factor of the apparent size along all axes.
        mirrored: axes along which a patch is mirrored with a chance of a half.
        min_visible: share of a lesion's box.
        masks: ``ellipse`` = the ellipsoid that fills a box; ``none`` = no masks.
        padding_px: margin of the labels around the lesion in px of the original slices, taken off first.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        grid: PatchGrid,
        foreground_probability: float = 0.5,
        margin: float = 0.125,
        scale_range: Sequence[float] = (0.8, 1.1),
        mirrored: Sequence[Axis] = ("x", "y", "z"),
        min_visible: float = 0.2,
        masks: LabelMasks = "ellipse",
        padding_px: float = 0.0,
    ) -> None:
        super().__init__(prob=1.0)
        if not 0 <= foreground_probability <= 1 or not 0 <= margin < 0.5 or not 0 < min_visible <= 1:
            raise ValueError(
                "expected a foreground_probability within [0, 1], a margin within [0, 0.5) and a min_visible within "
                f"(0, 1], got {foreground_probability}, {margin} and {min_visible}"
            )
        if not 0 < scale_range[0] <= scale_range[1] or set(mirrored) - set(get_args(Axis)) or padding_px < 0:
            raise ValueError(
                f"expected 0 < low <= high scale, axes x, y, z and a padding_px from 0, got {tuple(scale_range)}, "
                f"{list(mirrored)} and {padding_px}"
            )
        if masks not in get_args(LabelMasks):
            raise ValueError(f"masks must be one of {get_args(LabelMasks)}, got {masks!r}")
        self.grid = grid
        self.foreground_probability = foreground_probability
        self.margin = margin
        self.smallest, self.largest = scale_range
        self.mirrored = tuple(mirrored)
        self.min_visible = min_visible
        self.masks = masks
        self.padding_px = padding_px

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        source = open_ct(item["image"], spacing_mm=item.get("spacing_mm"), slices=item.get("slices"))
        spacing = source.geometry.spacing_mm
        boxes = torch.tensor(item["boxes"], dtype=torch.float64).reshape(-1, 6)
        scale = float(self.R.uniform(self.smallest, self.largest))
        grid = replace(self.grid, pixel_mm=self.grid.pixel_mm / scale, interval_mm=self.grid.interval_mm / scale)
        centre = self._centre(boxes, grid, source.shape[::-1], spacing)
        turned = [axis for axis, chance in zip("xyz", self.R.uniform(size=3)) if axis in self.mirrored and chance < 0.5]

        patch = grid.cut(source, centre.tolist(), spacing)
        size = tuple(patch.shape)
        boxes = self._moved(boxes, centre, grid, spacing, turned)
        ignore = torch.tensor(item.get("ignore", []), dtype=torch.float64).reshape(-1, 6)
        ignore = self._moved(ignore, centre, grid, spacing, turned)
        share = _volume(_clipped(boxes, size)) / _volume(boxes)
        seen, hidden = share >= self.min_visible, (share > 0) & (share < self.min_visible)
        ignore = torch.cat([ignore[_volume(_clipped(ignore, size)) > 0], boxes[hidden]])
        axes = ["zyx".index(axis) for axis in turned]
        item["image"] = (patch.flip(axes) if axes else patch)[None]
        item["boxes"] = _clipped(boxes[seen], size).float()
        item["labels"] = torch.tensor(item["labels"], dtype=torch.int64)[seen]
        item["ignore"] = _clipped(ignore, size).float()
        if self.masks == "ellipse":
            padding = self.padding_px * boxes.new_tensor([spacing[0], spacing[1]]) / grid.pixel_mm
            item["masks"] = ellipsoid_masks(boxes[seen], size, torch.cat([padding, padding.new_zeros(1)]))
        return item

    def _centre(self, boxes: Tensor, grid: PatchGrid, size: Sequence[int], spacing: Sequence[float]) -> Tensor:
        """Middle (x, y, z) of the patch, px and slices; float64."""
        of_patch = np.array([grid.size_px * grid.pixel_mm] * 2 + [grid.num_slices * grid.interval_mm])
        half = of_patch / np.asarray(spacing) / 2
        extent = np.asarray(size, dtype=np.float64)
        lesion = len(boxes) > 0 and self.R.uniform() < self.foreground_probability
        if lesion:
            box = boxes[int(self.R.randint(len(boxes)))].numpy()
            reach = half * (1 - 2 * self.margin)
            drawn = self.R.uniform((box[:3] + box[3:]) / 2 - reach, (box[:3] + box[3:]) / 2 + reach)
        else:
            drawn = self.R.uniform(0, extent)
        inside = np.clip(drawn, np.minimum(half, extent / 2), np.maximum(extent - half, extent / 2))
        return torch.from_numpy(inside)

    def _moved(
        self, boxes: Tensor, centre: Tensor, grid: PatchGrid, spacing: Sequence[float], turned: Sequence[str]
    ) -> Tensor:
        """Boxes in voxels of the mirrored patch, not clipped."""
        moved = grid.boxes_in(boxes, centre.expand(len(boxes), 3), spacing)
        size = (grid.size_px, grid.size_px, grid.num_slices)
        for axis in turned:
            column = "xyz".index(axis)
            low, high = size[column] - moved[:, column + 3], size[column] - moved[:, column]
            moved[:, column], moved[:, column + 3] = low, high
        return moved


def _clipped(boxes: Tensor, size_zyx: Sequence[int]) -> Tensor:
    limits = boxes.new_tensor([*reversed(size_zyx)] * 2)
    return boxes.clamp(min=0).minimum(limits)


def _volume(boxes: Tensor) -> Tensor:
    return (boxes[:, 3:] - boxes[:, :3]).clamp(min=0).prod(dim=1)


RandVolumePatchD = RandVolumePatchDict = RandVolumePatchd
