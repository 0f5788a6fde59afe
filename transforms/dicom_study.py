"""Sort DICOM files into series, reading the header of each once."""

from __future__ import annotations

import filecmp
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from lesion_app.errors import InputError
from transforms.dicom_file import CT_CLASSES, DicomFile, read_dicom_file
from transforms.dicom_grid import IncompleteSeries, SliceGrid, series_grid
from transforms.dicom_kind import CT_SLICE, DAMAGED, NOT_DICOM, kind_of
from transforms.dicom_pixels import stored_pixels
from transforms.dicom_slice import Slice, named, slices_of


@dataclass(eq=False)
class DicomSeries:
    """The objects of one kind in one series.

    Args:
        uid: SeriesInstanceUID, "" when missing.
        kind: `CT_SLICE`, or in words what else they are (see `kind_of`).
        header: of the undamaged file with the lowest SOPInstanceUID, so that no file name decides (CT slices).
        files: in the order given.
        slices: of `CT_SLICE` series.
        faults: file and what is wrong with its pixel data, of `CT_SLICE` series.
    """

    uid: str
    kind: str
    header: Dataset
    files: list[Path] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    faults: list[tuple[Path, str]] = field(default_factory=list)

    def grid(self) -> SliceGrid:
        """The series as one grid, each instance once.

        Raises:
            IncompleteSeries: a file is damaged, of an unknown compression, or missing.
            InputError: two instances claim one identity, or the slices form no grid (see `series_grid`).
        """
        if self.faults:
            file, fault = self.faults[0]
            raise IncompleteSeries(
                f"{file.name} cannot be decoded: {fault}; expected every CT slice of the series whole, so copy or "
                "export it anew"
            )
        slices, copies = without_copies(self.slices)
        grid = series_grid(slices)
        if copies:
            grid.notes.append(f"{copies} files were copies of others and passed over")
        return grid


@dataclass(eq=False)
class DicomStudy:
    """What lies in some files.

    Args:
        series: by SeriesInstanceUID and kind.
        kinds: number of files by kind, "file that is not DICOM" among them.
        lost: file and fault of damaged files that may be CT slices of any series.
    """

    series: dict[tuple[str, str], DicomSeries] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    lost: list[tuple[Path, str]] = field(default_factory=list)

    def require_no_lost_slice(self) -> None:
        """Refuse while a damaged file may be a slice of any series.

        Raises:
            IncompleteSeries: naming the first one.
        """
        if self.lost:
            file, fault = self.lost[0]
            raise IncompleteSeries(
                f"{file.name} is a damaged DICOM file without {named('SeriesInstanceUID')}: {fault}; expected whole "
                "files, as it may belong to any series here, so copy the study anew or take this file out"
            )


def read_study(files: Iterable[Path]) -> DicomStudy:
    """Read the headers of files of any kind; what is no DICOM is only counted.

    Raises:
        OSError: a file cannot be opened.
    """
    study = DicomStudy()
    for path in files:
        file = read_dicom_file(path)
        study.kinds[_add(study, file) if file else NOT_DICOM] += 1
    return study


def _add(study: DicomStudy, file: DicomFile) -> str:
    header, ct = file.header, file.sop_class in CT_CLASSES
    uid = str(header.get("SeriesInstanceUID") or "") if header is not None else ""
    if not uid and (ct or not (file.sop_class or file.whole_header)):
        study.lost.append((file.path, file.fault or "its header breaks off"))
        return DAMAGED
    if header is None:
        return DAMAGED
    slices: list[Slice] = []
    # What a CT image with a damaged header is cannot be told: it counts as a slice of its series, refused for it.
    kind = CT_SLICE if ct else DAMAGED
    if file.whole_header:
        try:
            kind = kind_of(header)
            slices = slices_of(file.path, header) if kind == CT_SLICE else []
        except Exception as error:  # values of a foreign type raise anything
            file = replace(file, fault=f"its header is damaged ({type(error).__name__})")
    series = study.series.setdefault((uid, kind), DicomSeries(uid, kind, header))
    if slices and (not series.slices or slices[0].instance_uid < str(series.header.get("SOPInstanceUID") or "")):
        series.header = header
    series.files.append(file.path)
    series.slices += slices
    if file.fault and kind == CT_SLICE:
        series.faults.append((file.path, file.fault))
    return kind


def without_copies(slices: Sequence[Slice]) -> tuple[list[Slice], int]:
    """Keep one of the files that hold the same instance; how many were passed over comes second.

    Raises:
        InputError: files with one SOPInstanceUID differ in place, scale or pixels.
    """
    kept: dict[tuple[str, int | None], Slice] = {}
    for one in slices:
        first = kept.setdefault((one.instance_uid or str(one.file), one.frame), one)
        if first is not one and not _same(first, one):
            raise InputError(
                f"{one.file.name} and {first.file.name} have one {named('SOPInstanceUID')} but differ; expected one "
                "file an instance, so take the wrong one out"
            )
    return list(kept.values()), len({s.file for s in slices}) - len({s.file for s in kept.values()})


def _same(first: Slice, second: Slice) -> bool:
    if first.file == second.file or filecmp.cmp(first.file, second.file, shallow=False):
        return True
    for name in ("position", "orientation", "spacing", "rescale"):
        one, other = getattr(first, name), getattr(second, name)
        if (one is None) != (other is None) or (one is not None and not np.array_equal(one, other)):
            return False
    try:  # the same slice in another compression or with another preamble
        (one,), (other,) = (list(stored_pixels(s.file, [s.frame])) for s in (first, second))
    except Exception:  # decoders raise anything; what cannot be compared is not known to be a copy
        return False
    return bool(np.array_equal(one, other))
