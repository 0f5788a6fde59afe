"""Read a CT from a NIfTI file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Pair

from lesion_app.errors import InputError
from transforms.ct_source import CTSource, decoding, to_hounsfield
from transforms.geometry import VolumeGeometry

MM_PER_UNIT = {"meter": 1000.0, "micron": 0.001}
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def open_nifti(path: Path, run: tuple[int, int] | None) -> CTSource:
    """Open a three-dimensional NIfTI-1 or NIfTI-2 file in HU; its RAS mm become LPS mm here.

    Raises:
        InputError: not NIfTI, not three-dimensional, not plain numbers, or a grid that is refused by
            `VolumeGeometry.from_file_grid`.
    """
    with decoding(path.name, "NIfTI"):
        image = _load(path)
        shape, dtype = image.shape, image.get_data_dtype()
        affine = np.asarray(image.affine, dtype=np.float64)
        unit = image.header.get_xyzt_units()[0]
        codes = int(image.header["sform_code"]), int(image.header["qform_code"])
    if len(shape) < 3 or any(n != 1 for n in shape[3:]) or not all(shape) or dtype.kind not in "iuf":
        raise InputError(
            f"{path.name} holds a {' x '.join(map(str, shape))} array of {dtype}; expected one three-dimensional "
            "volume of HU, so export a single phase as scalar values"
        )
    scale = np.diag([MM_PER_UNIT.get(unit, 1.0)] * 3 + [1.0])
    geometry = VolumeGeometry.from_file_grid((shape[0], shape[1], shape[2]), RAS_TO_LPS @ scale @ affine, run)
    notes = [] if any(codes) else ["the NIfTI header names no patient orientation; its default was taken"]
    return CTSource(geometry, "nifti", NiftiPlanes(path, len(shape) - 3), notes=notes)


@dataclass(frozen=True)
class NiftiPlanes:
    """Reads planes [i, j] at k; ``extra_axes`` trailing axes of length one are dropped."""

    path: Path
    extra_axes: int

    def __call__(self, ks: Sequence[int]) -> Iterator[np.ndarray]:
        with decoding(self.path.name, "NIfTI"):
            # An open handle lets ascending planes of a gzipped file be unpacked in one pass.
            image = _load(self.path, keep_file_open=True)
        for k in ks:
            with decoding(self.path.name, "NIfTI"):
                plane = np.asarray(image.dataobj[(slice(None), slice(None), k) + (0,) * self.extra_axes])
            yield to_hounsfield(plane)


def _load(path: Path, *, keep_file_open: bool = False) -> Nifti1Pair:
    image = nibabel.load(path, keep_file_open=keep_file_open)
    if not isinstance(image, Nifti1Pair):  # NIfTI-2 is a kind of it
        raise TypeError("another format under a NIfTI name")
    return image
