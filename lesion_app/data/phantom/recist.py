"""The RECIST mark a reader would put on a lesion's outline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesion_app.boxes.tracklet import Box2D
from lesion_app.data.missing_labels import BOX_PADDING_PX

_MOST_TILT = float(np.cos(np.radians(84.0)))
"""Readers' short axes stand within 6 degrees of the perpendicular (5 to 95 % of the 4,927 test rows of DL_info.csv)."""


@dataclass(frozen=True)
class Recist:
    """Long and short axis as [4, 2] points (x, y), 0-based pixel centres: both ends of the long, then of the short."""

    points: NDArray[np.float64]

    @property
    def diameters_px(self) -> tuple[float, float]:
        """Lengths of the long and the short axis in px."""
        ends = self.points.reshape(2, 2, 2)
        long, short = np.hypot(*(ends[:, 1] - ends[:, 0]).T)
        return float(long), float(short)

    @property
    def padded_box(self) -> Box2D:
        """Half-open 0-based box of the four end points' pixels with DeepLesion's 5 px padding."""
        (x1, y1), (x2, y2) = self.points.min(axis=0), self.points.max(axis=0)
        pad = BOX_PADDING_PX
        return float(x1 - pad), float(y1 - pad), float(x2 + 1 + pad), float(y2 + 1 + pad)


def measure(mask: NDArray[np.bool_], column: int = 0, row: int = 0, finer: int = 1) -> Recist:
    """Longest diameter of ``mask`` [h, w] and the longest one across it.

    Args:
        mask: pixels of the lesion on one slice, at least one set.
        column, row: position of ``mask[0, 0]`` in the slice (px of the mask).
        finer: pixels of the mask per pixel of the slice, along each axis.

    Returns:
        The mark in px of the slice, rounded to DeepLesion's three decimals.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    first, last = mask[rows].argmax(axis=1), mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    # The ends of a longest chord are always the first or last pixel of their row.
    outline = np.stack([np.concatenate([first, last]), np.concatenate([rows, rows])], axis=1).astype(np.float64)
    chords = outline[None, :] - outline[:, None]
    lengths = np.hypot(chords[..., 0], chords[..., 1])
    i, j = np.unravel_index(int(lengths.argmax()), lengths.shape)
    axis = chords[i, j] / max(lengths[i, j], 1e-9)
    tilt = np.abs(chords @ axis) / np.maximum(lengths, 1e-9)
    across = np.where(tilt <= _MOST_TILT, lengths, 0.0)
    width = lengths * np.sqrt(np.maximum(1 - tilt**2, 0))
    if across.max() < 0.5 * width.max():  # so few pixels that none lie opposite each other
        across = width
    k, m = np.unravel_index(int(across.argmax()), across.shape)
    points = (outline[[i, j, k, m]] + np.array([column, row]) + 0.5) / finer - 0.5
    return Recist(np.round(points, 3))
