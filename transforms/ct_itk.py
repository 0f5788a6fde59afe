"""Read a CT from an NRRD or MetaImage file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import itk
import numpy as np

from lesion_app.errors import InputError
from transforms.ct_source import CTSource, decoding, to_hounsfield
from transforms.geometry import VolumeGeometry

ITK_KINDS = {".nrrd": "nrrd", ".nhdr": "nrrd", ".mha": "metaimage", ".mhd": "metaimage"}
FITS_INT16 = ("char", "unsigned_char", "short")


def open_itk(path: Path, run: tuple[int, int] | None) -> CTSource:
    """Open a three-dimensional scalar NRRD (.nrrd, .nhdr) or MetaImage (.mha, .mhd) in HU.

    Raises:
        InputError: unreadable, not three-dimensional, several components, or a grid that is refused
            by `VolumeGeometry.from_file_grid`.
    """
    with decoding(path.name, "NRRD or MetaImage"):
        header = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
        if header is None:
            raise ValueError("no reader recognises the file")
        header.SetFileName(str(path))
        header.ReadImageInformation()
        shape = tuple(int(header.GetDimensions(axis)) for axis in range(header.GetNumberOfDimensions()))
        components = int(header.GetNumberOfComponents())
        number_type = header.GetComponentTypeAsString(header.GetComponentType())
    if len(shape) != 3 or components != 1:
        raise InputError(
            f"{path.name} holds a {' x '.join(map(str, shape))} array of {components} value(s) a voxel; expected one "
            "three-dimensional volume of HU, so export a single phase as scalar values"
        )
    with decoding(path.name, "NRRD or MetaImage"):
        # 32-bit floats hold every integer a CT may be stored in; a wider type would double the memory.
        pixel = itk.SS if number_type in FITS_INT16 else itk.F
        reader = itk.ImageFileReader[itk.Image[pixel, 3]].New(FileName=str(path))
        reader.UpdateOutputInformation()
        grid = reader.GetOutput()
        affine = np.eye(4)
        affine[:3, :3] = itk.array_from_matrix(grid.GetDirection()) * np.asarray(grid.GetSpacing())
        affine[:3, 3] = np.asarray(grid.GetOrigin())
    geometry = VolumeGeometry.from_file_grid((shape[0], shape[1], shape[2]), affine, run)
    return CTSource(geometry, ITK_KINDS[path.suffix.lower()], ITKPlanes(path, number_type in FITS_INT16))


@dataclass(frozen=True)
class ITKPlanes:
    """Reads planes [i, j] at k; the file is decoded whole, as these formats are packed in one piece."""

    path: Path
    fits_int16: bool

    def __call__(self, ks: Sequence[int]) -> Iterator[np.ndarray]:
        with decoding(self.path.name, "NRRD or MetaImage"):
            image = itk.imread(str(self.path), pixel_type=itk.SS if self.fits_int16 else itk.F)
            volume = itk.array_view_from_image(image)
        for k in ks:
            yield to_hounsfield(volume[k].T)
