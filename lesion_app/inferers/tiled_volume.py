"""Lesions of a whole CT volume from a 3D detector: overlapping tiles, merged by weighted box clustering."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from rich.progress import track
from torch import Tensor, nn

from lesion_app.boxes.outlined_tracklet import OutlinedTracklet
from lesion_app.boxes.tracklet import Tracklet
from lesion_app.inferers.box_masks import masks_to_grid, outline_in_volume
from lesion_app.inferers.pooled_views import looks_of, mirror, restored
from lesion_app.inferers.slice_windows import interpolate_slices
from lesion_app.inferers.weighted_box_clustering import (
    cluster_boxes,
    cluster_mean,
    merged_scores,
    patch_centre_weights,
    ranked_clusters,
)

AIR_HU = -1024


class TiledVolumeInferer(Inferer):
    """MONAI inferer: volume items in, lesions out.

    Jaeger et al., "Retina U-Net", section 4.3: tiles of the training patches' size, whose boxes are merged by weighted
    box clustering; the looks of an ensemble (mirrored views, checkpoints) are members of the same clustering. Slices
    are interpolated tile by tile, so memory is the volume as read and what the network needs for ``tiles_per_batch``.

    Args:
        intensity: scales HU to the network's range; applied tile by tile.
        patch_size: (D, H, W) voxels of a tile.
        interval_mm: distance of slices in a tile, as in training.
        overlap: smallest share of a tile's side that neighbours have in common, in [0, 1).
        iou_threshold, min_score: see ``weighted_box_clustering``.
        max_detections: most lesions of a volume, the best; None = all.
        tiles_per_batch: tiles given to the network at a time.
        device: where the network runs; None = where its parameters lie.
        progress: show a bar with the time left.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        intensity: Callable[[Tensor], Tensor],
        patch_size: Sequence[int],
        interval_mm: float,
        overlap: float = 0.25,
        iou_threshold: float = 1e-5,
        min_score: float = 0.01,
        max_detections: int | None = None,
        tiles_per_batch: int = 1,
        device: str | torch.device | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__()
        if len(patch_size) != 3 or min(patch_size) < 1 or not interval_mm > 0 or not 0 <= overlap < 1:
            raise ValueError(
                "expected a patch_size of three positive numbers, a positive interval_mm and an overlap within [0, 1), "
                f"got {tuple(patch_size)}, {interval_mm} and {overlap}"
            )
        if tiles_per_batch < 1 or (max_detections is not None and max_detections < 1):
            raise ValueError(f"tiles_per_batch and max_detections start at 1, got {tiles_per_batch}, {max_detections}")
        self.intensity = intensity
        self.patch_size = tuple(patch_size)
        self.interval_mm = interval_mm
        self.overlap = overlap
        self.iou_threshold = iou_threshold
        self.min_score = min_score
        self.max_detections = max_detections
        self.tiles_per_batch = tiles_per_batch
        self.device = device
        self.progress = progress

    def __call__(  # type: ignore[override]  # MONAI's engines hand on whatever prepare_batch made
        self, inputs: Sequence[dict[str, Any]], network: nn.Module, *args: Any, **kwargs: Any
    ) -> list[list[Tracklet]]:
        """Lesions of each volume, by falling score.

        Args:
            inputs: items with ``image`` ``[Z, h, w]`` HU, ``spacing_mm`` (x, y, z) of the original grid, ``view``
                (original px -> px of ``image``) and ``geometry`` (original grid).

        Returns:
            for each item its lesions (``OutlinedTracklet``): one box for all slices that a lesion's middle plane or
            more lies on, px of the ORIGINAL slices, slices = index in the volume.
        """
        return [self._lesions(item, self.detect(item, network)) for item in inputs]

    @torch.no_grad()
    def detect(self, item: dict[str, Any], network: nn.Module) -> dict[str, Tensor]:
        """3D detections of one item, on the CPU, by falling score.

        Returns:
            ``boxes`` [N, 6] in voxels of the network's grid (pixels of ``image``, slices ``interval_mm`` apart),
            ``scores``, ``labels`` and, where the network gives masks, ``masks`` on the grid of their boxes
            (``box_masks.GRID_3D``).
        """
        network.eval()
        volume: Tensor = item["image"]
        device = torch.device(self.device) if self.device is not None else next(network.parameters()).device
        slices = math.ceil(len(volume) * float(item["spacing_mm"][2]) / self.interval_mm - 1e-6)
        size = (max(1, slices), int(volume.shape[1]), int(volume.shape[2]))
        starts = [tile_starts(n, side, self.overlap) for n, side in zip(size, self.patch_size)]
        corners = list(product(*starts))
        looks = looks_of(network)
        parts: list[dict[str, Tensor]] = []
        for batch in self._batches(corners):
            tiles = [self._tile(volume, float(item["spacing_mm"][2]), corner).to(device)[None] for _, corner in batch]
            for number, look in enumerate(looks):
                found = look.network([mirror(tile, look.mirrored) for tile in tiles])
                for (place, corner), tile, detections in zip(batch, tiles, found):
                    parts.append(
                        self._placed(
                            restored(detections, look.mirrored, tile.shape), corner, number * len(corners) + place
                        )
                    )
        pooled = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        return self._merged(pooled, size, starts, len(looks))

    def _batches(self, corners: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, tuple[int, ...]]]]:
        """Tiles with their numbers, ``tiles_per_batch`` at a time."""
        places = range(0, len(corners), self.tiles_per_batch)
        for start in track(places, description="detecting", transient=True) if self.progress else places:
            yield list(enumerate(corners))[start : start + self.tiles_per_batch]

    def _tile(self, volume: Tensor, spacing_z: float, corner: Sequence[int]) -> Tensor:
        """Intensities ``[D, H, W]``: beyond the last slice the last one again, beyond the sides air."""
        depth, height, width = self.patch_size
        z, y, x = corner
        step = self.interval_mm / spacing_z
        positions = np.clip((z + np.arange(depth) + 0.5) * step - 0.5, 0, len(volume) - 1).round(6)
        part = interpolate_slices(volume[:, y : y + height, x : x + width], positions)
        tile = part.new_full((depth, height, width), AIR_HU)
        tile[:, : part.shape[1], : part.shape[2]] = part
        return self.intensity(tile)

    def _placed(self, detections: dict[str, Tensor], corner: Sequence[int], member: int) -> dict[str, Tensor]:
        """One tile's detections in voxels of the volume, with what the clustering wants to know."""
        boxes = detections["boxes"].cpu()
        shift = boxes.new_tensor([*reversed(corner)] * 2)
        placed = {
            "boxes": boxes + shift,
            "scores": detections["scores"].cpu(),
            "labels": detections["labels"].cpu(),
            "weights": patch_centre_weights(boxes, self.patch_size[::-1]),
            "members": torch.full((len(boxes),), member, dtype=torch.int64),
        }
        if "masks" in detections:
            placed["masks"] = masks_to_grid(detections["masks"], detections["boxes"]).cpu()
        return placed

    def _merged(
        self, found: dict[str, Tensor], size: Sequence[int], starts: Sequence[Sequence[int]], looks: int
    ) -> dict[str, Tensor]:
        limits = found["boxes"].new_tensor([*reversed(size)] * 2)
        boxes = found["boxes"].minimum(limits)  # tiles may reach beyond a small volume
        within = (boxes[:, 3:] > boxes[:, :3]).all(dim=1)
        found = {key: value[within] for key, value in found.items()}
        boxes, scores, labels = boxes[within], found["scores"], found["labels"]
        expected = looks * tiles_over(boxes, size, starts, self.patch_size)
        clusters = cluster_boxes(boxes, scores, labels, found["weights"], self.iou_threshold)
        merged = merged_scores(clusters, scores, expected, found["members"])
        kept = ranked_clusters(merged, self.min_score)[: self.max_detections]
        result = {
            "boxes": cluster_mean(clusters, scores, boxes)[kept].to(boxes),
            "scores": merged[kept].to(scores),
            "labels": labels[clusters.leaders][kept],
        }
        if "masks" in found:
            result["masks"] = cluster_mean(clusters, scores, found["masks"])[kept].float()
        return result

    def _lesions(self, item: dict[str, Any], found: dict[str, Tensor]) -> list[Tracklet]:
        """Detections of the network's grid as lesions of the original one."""
        shape = tuple(int(n) for n in item["geometry"].shape_zyx)
        step = self.interval_mm / float(item["spacing_mm"][2])
        lesions: list[Tracklet] = []
        for row, (score, label) in enumerate(zip(found["scores"].tolist(), found["labels"].tolist())):
            box = found["boxes"][row].double()
            plane = item["view"].invert(box[[0, 1, 3, 4]][None])[0]
            limits = plane.new_tensor([shape[2], shape[1]] * 2)
            plane = plane.clamp(min=0).minimum(limits)
            low, high = float(box[2]) * step, min(float(box[5]) * step, float(shape[0]))
            if not (plane[2:] > plane[:2]).all() or high <= low:
                continue
            # Slices whose centres lie within; one at least, that of the middle.
            middle = min(int((low + high) / 2), shape[0] - 1)
            slices = tuple(range(math.ceil(low - 0.5), math.ceil(high - 0.5))) or (middle,)
            extent = (float(plane[0]), float(plane[1]), low, float(plane[2]), float(plane[3]), high)
            outlines = {}
            if "masks" in found:
                outlines = outline_in_volume(found["masks"][row], extent, slices, (shape[1], shape[2]))
            rectangle = (extent[0], extent[1], extent[3], extent[4])
            lesions.append(
                OutlinedTracklet(
                    slices,
                    (rectangle,) * len(slices),
                    (score,) * len(slices),
                    label,
                    outlines,
                    slices[len(slices) // 2],
                )
            )
        return lesions


def tile_starts(extent: int, side: int, overlap: float) -> list[int]:
    """First voxels of the fewest tiles of ``side`` that cover ``extent`` voxels and share ``overlap`` or more of it.

    Spread evenly; [0] where one tile is enough.
    """
    if extent <= side:
        return [0]
    step = max(1, math.floor(side * (1 - overlap)))
    count = math.ceil((extent - side) / step) + 1
    return [round(i * (extent - side) / (count - 1)) for i in range(count)]


def tiles_over(
    boxes: Tensor, size: Sequence[int], starts: Sequence[Sequence[int]], patch_size: Sequence[int]
) -> Tensor:
    """How many tiles look at each box, the mean over its voxels.

    Args:
        boxes: ``[N, 6]`` (x1, y1, z1, x2, y2, z2) voxels of the volume.
        size: (D, H, W) of the volume.
        starts: of the tiles along z, y, x.
        patch_size: (D, H, W) of a tile.

    Returns:
        float64 ``[N]``, from 1.
    """
    mean = torch.ones(len(boxes), dtype=torch.float64)
    for axis, (extent, first, side) in enumerate(zip(size, starts, patch_size)):
        column = 2 - axis
        cover = torch.zeros(extent, dtype=torch.float64)
        for start in first:
            cover[start : start + side] += 1
        total = torch.cat([cover.new_zeros(1), cover.cumsum(0)])
        low = boxes[:, column].floor().long().clamp(0, extent - 1)
        high = boxes[:, column + 3].ceil().long().clamp(max=extent).maximum(low + 1)
        mean *= (total[high] - total[low]) / (high - low)
    return mean
