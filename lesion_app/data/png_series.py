"""Any CT -> a folder of slices as DeepLesion has them, so that one loader reads all data sets."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from lesion_app.atomic_file import replacing_folder
from transforms.ct_reader import open_ct

HU_OFFSET = 32768
"""DeepLesion's PNGs hold HU + 32768 as unsigned 16 bit (NIH's README of DeepLesion)."""


def write_png_series(image: Path, folder: Path) -> None:
    """Write a CT as ``001.png``, ``002.png``, ... from head to feet, in DeepLesion's 16 bits; whole or not at all.

    Orientation is that of the network grid in plane (x to the patient's left, y posterior); along z DeepLesion's
    own order, so that slabs of all data sets point the same way. Nothing is resampled.

    Args:
        image: what `transforms.open_ct` reads.
        folder: of the slices; an existing one is replaced.

    Raises:
        InputError: the CT cannot be read or holds no HU.
        OSError: the folder cannot be written.
    """
    volume = open_ct(image).read().numpy()
    with replacing_folder(folder) as temporary:
        for number, plane in enumerate(volume[::-1], start=1):
            pixels = (plane.astype(np.int32) + HU_OFFSET).astype(np.uint16)
            # Noise holds no repeats worth the search for them; entropy coding alone is faster and no larger.
            Image.fromarray(pixels).save(
                temporary / f"{number:03d}.png", compress_level=1, compress_type=zlib.Z_HUFFMAN_ONLY
            )


def has_png_series(folder: Path, slices: int) -> bool:
    """Whether ``folder`` holds exactly the files that `write_png_series` writes for so many slices."""
    if not folder.is_dir():
        return False
    return sorted(os.listdir(folder)) == sorted(f"{number:03d}.png" for number in range(1, slices + 1))
