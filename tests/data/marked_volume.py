"""A small CT on the network grid with voxels that can be told apart."""

from __future__ import annotations

import numpy as np

SHAPE = (12, 10, 8)  # slices, rows, columns
SPACING = (0.5, 0.8, 2.5)


def marked_volume(*spots: tuple[int, int, int, int]) -> np.ndarray:
    """HU [z, y, x] on the network grid (feet first) with single bright voxels (z, y, x, HU)."""
    volume = np.full(SHAPE, -900, dtype=np.int16)
    volume[:, 2:-2, 1:-1] = 40
    for z, y, x, hu in spots:
        volume[z, y, x] = hu
    return volume
