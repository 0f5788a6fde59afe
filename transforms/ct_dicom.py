"""Open one CT series of DICOM files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lesion_app.errors import InputError
from transforms.ct_source import CTSource
from transforms.dicom_kind import CT_SLICE
from transforms.dicom_pixels import DicomPlanes
from transforms.dicom_study import DicomSeries, read_study
from transforms.geometry import VolumeGeometry

EXPECTED = "expected the files of one CT series, so give the folder that holds them"


def open_dicom(path: Path, run: tuple[int, int] | None) -> CTSource:
    """Open the CT series in a folder, or the series that a file belongs to (within its folder).

    Localizers, screen captures, reports and other modalities are passed over. Of several CT series
    the one with the most slices is taken, which ``notes`` tells (``lesion_app.clinical`` chooses by more).
    Positions come from ImagePositionPatient, never from file names or SliceThickness (but for a single slice).

    Raises:
        InputError: no CT slice, a damaged one, or slices that do not form one uniform grid (see `series_grid`).
    """
    folder = path if path.is_dir() else path.parent
    chosen = _series_of(path) if path.is_file() else None
    study = read_study(sorted(file for file in folder.iterdir() if file.is_file()))
    found = [one for one in study.series.values() if one.kind == CT_SLICE and chosen in (None, one.uid)]
    if not found:
        study.require_no_lost_slice()
        raise InputError(f"no CT slice was found in folder {folder.name} but {_listed(study.kinds)}; {EXPECTED}")
    study.require_no_lost_slice()
    series = max(found, key=lambda one: (len(one.slices), one.uid))
    notes = []
    if len(found) > 1:
        counts = sorted((len(one.slices) for one in found), reverse=True)
        notes.append(f"{len(counts)} CT series of {counts} slices were found; the one with the most was taken")
    if study.kinds[CT_SLICE] < study.kinds.total():
        del study.kinds[CT_SLICE]
        notes.append(f"passed over: {_listed(study.kinds)}")
    return _opened(series, run, notes)


def open_dicom_files(files: Sequence[Path], run: tuple[int, int] | None = None) -> CTSource:
    """Open exactly these files, which must be the slices of one CT series, in any order.

    Raises:
        InputError: a file is no CT slice, is damaged, or belongs to another series; or as `open_dicom`.
    """
    for file in files:
        if not file.is_file():
            raise InputError(f"{file.name} is not there; expected the files of one CT series, so check the paths")
    study = read_study(files)
    study.require_no_lost_slice()
    series = [one for one in study.series.values() if one.kind == CT_SLICE]
    if len(series) != 1 or study.kinds[CT_SLICE] < study.kinds.total():
        what = f"{len(series)} CT series in {_listed(study.kinds)}"
        raise InputError(
            f"{what} were given; expected the slices of one CT series and nothing else, so leave out the rest"
        )
    return _opened(series[0], run, [])


def _opened(series: DicomSeries, run: tuple[int, int] | None, notes: list[str]) -> CTSource:
    grid = series.grid()
    geometry = VolumeGeometry.from_file_grid(grid.shape, grid.affine, run)
    return CTSource(geometry, "dicom", DicomPlanes(grid.slices), series.uid, notes + grid.notes)


def _series_of(path: Path) -> str:
    """SeriesInstanceUID of a CT slice; refuses anything else."""
    study = read_study([path])
    study.require_no_lost_slice()
    for series in study.series.values():
        if series.kind == CT_SLICE:
            return series.uid
    (kind,) = study.kinds
    raise InputError(f"{path.name} was found to be no CT slice but: {kind}; {EXPECTED}")


def _listed(kinds: Counter[str]) -> str:
    return ", ".join(f"{kind} ({number})" for kind, number in kinds.most_common()) or "no file at all"
