"""Open a CT of any supported format behind one interface."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from lesion_app.errors import InputError
from transforms.ct_dicom import open_dicom, open_dicom_files
from transforms.ct_itk import ITK_KINDS, open_itk
from transforms.ct_nifti import open_nifti
from transforms.ct_png import open_png_folder
from transforms.ct_source import CTSource
from transforms.dicom_file import is_dicom

SUPPORTED = "a folder of DICOM files or of DeepLesion PNG slices, one DICOM file, or .nii, .nii.gz, .nrrd, .mha, .mhd"


def open_ct(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    spacing_mm: Sequence[float] | None = None,
    slices: Sequence[int] | None = None,
) -> CTSource:
    """Open a CT; headers are read and checked now, pixels by ``CTSource.read``.

    Args:
        path: folder of 16-bit DeepLesion PNG slices (file name = slice number, HU = value - 32768),
            folder of a DICOM CT series or one file of it, NIfTI, NRRD or MHA/MHD file. Several paths are exactly
            the files of one DICOM CT series, in any order (what ``choose_series`` gives).
        spacing_mm: (x, y, z) mm; needed for PNG, which carry none. Every other format has its own
            and this is not looked at.
        slices: first and last slice of a run, inclusive: file numbers for PNG, else indices on the
            network grid (0 = most inferior). None takes all; for PNG they must then be one
            unbroken run.

    Returns:
        The CT on the network grid: z ascending to superior, y posterior, x to the patient's left,
        whatever the file's own order. PNG carry no orientation: their axes stay as they are and
        "LPS" mm count from the centre of the corner voxel of the run's first slice.

    Raises:
        InputError: when there is no readable CT of one consistent geometry at ``path``.
    """
    run = _checked_run(slices)
    if not isinstance(path, (str, os.PathLike)):
        files = [Path(file) for file in path]
        return _readable("a DICOM file", lambda: open_dicom_files(files, run))
    place = Path(path)
    if not place.exists():
        raise InputError(f"no file or folder {place.name} was found; expected {SUPPORTED}, so check the path")
    return _readable(place.name, lambda: _opened(place, spacing_mm, run))


def _readable(name: str, opened: Callable[[], CTSource]) -> CTSource:
    try:
        return opened()
    except OSError as error:
        name = Path(error.filename).name if error.filename else name
        raise InputError(
            f"{name} could not be opened ({error.strerror or type(error).__name__}); expected a CT that this user "
            "may read, so check its permissions and the disk"
        ) from error


def _opened(path: Path, spacing_mm: Sequence[float] | None, run: tuple[int, int] | None) -> CTSource:
    name = path.name.lower()
    if path.is_dir():
        return open_png_folder(path, spacing_mm, run) if _holds_png_slices(path) else open_dicom(path, run)
    if name.endswith((".nii", ".nii.gz")):
        return open_nifti(path, run)
    if path.suffix.lower() in ITK_KINDS:
        return open_itk(path, run)
    if path.is_file() and is_dicom(path):
        return open_dicom(path, run)
    raise InputError(f"{path.name} is not a CT that can be read; expected {SUPPORTED}, so convert it to one of these")


def _holds_png_slices(folder: Path) -> bool:
    """Whether to read a folder as PNG: numbered slices, or pictures and no DICOM (a stray screenshot is none)."""
    pictures = [file for file in folder.iterdir() if file.suffix.lower() == ".png"]
    if any(file.stem.isdecimal() for file in pictures):
        return True
    return bool(pictures) and not any(file.is_file() and is_dicom(file) for file in folder.iterdir())


def _checked_run(slices: Sequence[int] | None) -> tuple[int, int] | None:
    if slices is None:
        return None
    try:
        first, last = (int(number) for number in slices)
    except (TypeError, ValueError):
        first, last = 0, -1
    if not 0 <= first <= last:
        raise InputError(f"slices={slices!r} was given; expected (first, last), two whole numbers in ascending order")
    return first, last
