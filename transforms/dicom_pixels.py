"""Decode the slices of a DICOM series to HU, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pydicom
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import iter_pixels, pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian

from transforms.ct_source import AIR_HU, decoding, to_hounsfield
from transforms.dicom_slice import Slice, named


@dataclass(frozen=True, eq=False)
class DicomPlanes:
    """Decodes planes [column, row] of sorted slices, each with its own rescale and padding.

    One slice is in memory at a time, also of a multi-frame object.
    """

    slices: Sequence[Slice]

    def __call__(self, ks: Sequence[int]) -> Iterator[np.ndarray]:
        for file, wanted in groupby([self.slices[k] for k in ks], key=lambda one: one.file):
            run = list(wanted)
            with decoding(file.name, f"{named('PixelData')} of a CT slice"):
                for one, stored in zip(run, stored_pixels(file, [s.frame for s in run]), strict=True):
                    yield _hounsfield(one, stored).T


def stored_pixels(file: Path, frames: Sequence[int | None]) -> Iterator[np.ndarray]:
    """Stored values [row, column] of frames of a file, in the order asked for; None is the file's only frame."""
    # A deflated file has no place to jump to: it is inflated whole.
    deflated = read_file_meta_info(file).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    source = pydicom.dcmread(file) if deflated else file
    if None in frames:
        yield from (pixel_array(source) for _ in frames)
    else:  # the header of a multi-frame object is long: it is parsed once for all frames
        yield from iter_pixels(source, indices=[frame or 0 for frame in frames])


def _hounsfield(one: Slice, stored: np.ndarray) -> np.ndarray:
    """int16 [row, column] HU; outside the scan is air."""
    if stored.shape != one.size[::-1]:
        raise ValueError("the pixel data are not one frame of Rows x Columns")
    if one.rescale is None:
        raise ValueError("no rescale")
    slope, intercept = one.rescale
    if slope == 1 and float(intercept).is_integer() and stored.dtype.itemsize <= 2:
        hu = stored + np.int32(intercept)  # what nearly every CT has; a fifth of the time of the general rule
    else:
        hu = stored * slope + intercept
    if one.padding is not None:
        low, high = one.padding
        hu[(stored >= low) & (stored <= high)] = AIR_HU
    return to_hounsfield(hu)
