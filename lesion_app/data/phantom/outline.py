"""The truth about one lesion, from how much of every pixel it fills."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lesion_app.boxes.tracklet import Box3D
from lesion_app.data.phantom.recist import Recist, measure
from lesion_app.data.phantom.shapes import Image, Window

Coverage = Callable[[int, int], tuple[Window, Image] | None]
"""(slice index, n) -> the pixels that a lesion may fill (rows, columns of the slice with each pixel cut into n x n)
and how much of each it fills, 0..1; None where it misses the slice."""


@dataclass(frozen=True)
class LesionTruth:
    """Where one lesion lies, on the sub-volume's grid (0-based px and slice index).

    Args:
        type: 1..8; recists: slice index -> mark; extent: tight (x1, y1, z1, x2, y2, z2), half-open;
        key_index: slice with the longest diameter; volume_mm3: from the voxels counted in the masks.
    """

    type: int
    recists: dict[int, Recist]
    extent: Box3D
    key_index: int
    volume_mm3: float

    @property
    def key(self) -> Recist:
        """The mark on the key slice."""
        return self.recists[self.key_index]


def outline_lesion(
    kind: int, coverage: Coverage, slices: int, width_px: float, spacing_mm: tuple[float, float, float]
) -> LesionTruth:
    """Outline a lesion where it fills half of a pixel.

    Args:
        kind: lesion type 1..8.
        coverage: what the lesion fills.
        slices: number of slices of the sub-volume.
        width_px: about the lesion's width.
        spacing_mm: (x, y, z).

    Raises:
        ValueError: when the lesion fills nothing on any slice.
    """
    # Small lesions are outlined on a finer grid, as a reader places marks between pixels.
    finer = 4 if width_px < 12 else 2 if width_px < 40 else 1
    found: dict[int, tuple[Window, Image]] = {}
    for index in range(slices):
        part = coverage(index, finer)
        if part is not None and part[1].size:
            found[index] = part
    # A lesion thinner than the slice never fills half of it; its own strongest slice then sets the bar.
    bar = 0.5 * max(float(filled.max()) for _, filled in found.values())
    recists: dict[int, Recist] = {}
    corners, voxels = [], 0
    for index, (window, filled) in found.items():
        mask = filled > bar
        if mask.any():
            row, column = window[0].start, window[1].start
            recists[index] = measure(mask, column, row, finer)
            rows, columns = np.flatnonzero(mask.any(axis=1)) + row, np.flatnonzero(mask.any(axis=0)) + column
            corners.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
            voxels += int(mask.sum())
    x1, y1 = np.floor(np.min(corners, axis=0)[:2] / finer)
    x2, y2 = np.ceil(np.max(corners, axis=0)[2:] / finer)
    extent = (float(x1), float(y1), float(min(recists)), float(x2), float(y2), float(max(recists) + 1))
    key = max(recists, key=lambda index: recists[index].diameters_px[0])
    return LesionTruth(kind, recists, extent, key, voxels / finer**2 * float(np.prod(spacing_mm)))
