"""Lesions of a whole CT volume from a detector of slabs with any odd number of slices, with masks where it has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lesion_app.boxes.outlined_tracklet import OutlinedTracklet
from lesion_app.boxes.tracklet import Tracklet
from lesion_app.inferers.box_masks import masks_to_grid, outline_in_slice
from lesion_app.inferers.slice_windows import interpolate_slices
from lesion_app.inferers.whole_volume import SliceDetections, WholeVolumeInferer


class SlabVolumeInferer(WholeVolumeInferer):
    """:class:`~lesion_app.inferers.whole_volume.WholeVolumeInferer` without shared work between slabs.

    2D (one slice) and 2Dc (the slice and 3 neighbours on either side) of Jaeger et al., "Retina U-Net", section 4.3.
    Lesions of a detector that reports ``masks`` are ``OutlinedTracklet``; on slices that the linker filled in they have
    no outline.

    Args:
        **settings: of ``WholeVolumeInferer``; ``mode`` is not looked at.
    """

    def __call__(  # type: ignore[override]
        self, inputs: Sequence[dict[str, Any]], network: nn.Module, *args: Any, **kwargs: Any
    ) -> list[list[Tracklet]]:
        """Lesions of each volume, by falling score; arguments as in ``WholeVolumeInferer``."""
        results = []
        for item in inputs:
            slices = self.detect_slices(item, network)
            plain = [{k: v for k, v in found.items() if k != "masks"} for found in slices]
            lesions = self.linker(plain)
            if slices and all("masks" in found for found in slices):
                _, height, width = item["geometry"].shape_zyx
                lesions = [outlined(lesion, slices, (height, width)) for lesion in lesions]
            results.append(lesions)
        return results

    @torch.no_grad()
    def detect_slices(self, item: dict[str, Any], network: nn.Module) -> list[SliceDetections]:
        """2D detections (CPU) of every slice of one item, boxes in px of the original slices, masks on the grid of
        their boxes (``box_masks.GRID_2D``).

        Raises:
            ValueError: a network that does not tell its number of slices where none was given, or an even one.
        """
        network.eval()
        volume: Tensor = item["image"]
        device = torch.device(self.device) if self.device is not None else next(network.parameters()).device
        count = self.num_slices or getattr(network, "num_slices", None)
        if count is None or count % 2 == 0:
            raise ValueError(f"slabs need an odd number of slices, got {count}: give the inferer num_slices")
        depth = len(volume)
        step = self.interval_mm / float(item["spacing_mm"][2])
        offsets = (np.arange(count) - count // 2) * step
        # Rounded, so that 2 mm / 0.4 mm falls on a slice and not beside it.
        positions = np.clip(np.arange(depth)[:, None] + offsets, 0, depth - 1).round(6)
        found: list[SliceDetections] = []
        batch = self._batch_on(device)
        for start in self._batches(depth, batch):
            slabs = self.intensity(interpolate_slices(volume, positions[start : start + batch]).to(device))
            for detections in network(list(slabs)):
                if "masks" in detections:
                    detections["masks"] = masks_to_grid(detections["masks"], detections["boxes"])
                found.append({k: v.cpu() for k, v in detections.items()})
        for detections in found:
            detections["boxes"] = item["view"].invert(detections["boxes"])
        return found


def outlined(lesion: Tracklet, slices: Sequence[SliceDetections], size: tuple[int, int]) -> OutlinedTracklet:
    """``lesion`` with the outlines of the detections it was linked from; ``size`` (H, W) of the original slices."""
    outlines = {}
    for z, box in zip(lesion.slices, lesion.boxes):
        same = (slices[z]["boxes"].double() - torch.tensor([box], dtype=torch.float64)).abs().amax(dim=1) < 1e-3
        if same.any():
            row = int(same.nonzero()[0])
            outlines[z] = outline_in_slice(slices[z]["masks"][row], box, size)
    return OutlinedTracklet(lesion.slices, lesion.boxes, lesion.scores, lesion.label, outlines)
