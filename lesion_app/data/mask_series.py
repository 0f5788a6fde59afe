"""Masks of 3D lesions -> a folder of slices beside those of the CT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lesion_app.atomic_file import replacing_folder

MASK_FOLDER = "Masks_png"
"""Beside ``Images_png`` of a data set's root."""


def write_mask_series(mask: np.ndarray, folder: Path) -> None:
    """Write ``<NNN>.png`` (16 bit) for every slice that a lesion touches, from head to feet; whole or not at all.

    Files are numbered as `write_png_series` numbers the CT's, so that equal names are equal slices; a slice without a
    file has no lesion.

    Args:
        mask: [Z, H, W] whole numbers on the network grid (z from feet to head): 0 = background, k = lesion k.
        folder: of the slices; an existing one is replaced.

    Raises:
        ValueError: a number that 16 bits do not hold.
        OSError: the folder cannot be written.
    """
    if mask.size and not 0 <= int(mask.min()) <= int(mask.max()) < 2**16:
        raise ValueError(f"masks hold {mask.min()} to {mask.max()}; expected numbers from 0 to {2**16 - 1}")
    with replacing_folder(folder) as temporary:
        for z in np.flatnonzero(mask.any(axis=(1, 2))).tolist():
            Image.fromarray(mask[z].astype(np.uint16)).save(temporary / f"{len(mask) - z:03d}.png")
