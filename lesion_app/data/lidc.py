"""LIDC-IDRI: DICOM series and the XML of four readers, who outlined and rated every nodule of at least 3 mm.

Armato et al., "The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative (IDRI): a completed
reference database of lung nodules on CT scans", Med. Phys. 38(2), 2011; TCIA, doi 10.7937/K9/TCIA.2015.LO9QL9SX. 1,018
scans of 1,010 patients. Two classes as in Jaeger et al., "Retina U-Net", 2019, section 4.1.
"""

from __future__ import annotations

import os
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from lesion_app.data.lidc_nodules import MarkedVoxels, agreed_voxels, marked_voxels, same_nodule
from lesion_app.data.lidc_xml import ScanReading, read_lidc_xml
from lesion_app.data.record import Kind
from lesion_app.data.volume_case import FoundLesions, VolumeCase, VolumeCases, VolumeLesion
from lesion_app.errors import InputError
from transforms.geometry import VolumeGeometry

LUNG = 5
BENIGN, MALIGNANT = 1, 2
FIRST_MALIGNANT_RATING = 3.0
"""Ratings 1 and 2 are benign, 3 to 5 malignant (Jaeger et al., section 4.1)."""
Rating = Literal["mean", "median", "published"]
"""How the readers' malignancies become one: their mean (section 4.1, "averaging the malignancy scores"), their median
(pylidc's custom), or the mean in which a reader who did not mark the nodule counts as a rating of 0, as in the paper's
program, so that fewer nodules are malignant."""
_TAGS = ["Modality", "SeriesInstanceUID", "PatientID"]


@dataclass(frozen=True)
class ReadNodules:
    """The nodules of one scan.

    Args:
        reading: its XML.
        agreement: a voxel belongs to a nodule when at least this share of the scan's readers say so.
        rating: see `Rating`.
        tolerance_mm: marks this near are of one nodule; None = the slice spacing.
    """

    reading: ScanReading
    agreement: float = 0.5
    rating: Rating = "mean"
    tolerance_mm: float | None = None

    def __call__(self, geometry: VolumeGeometry) -> FoundLesions:
        """Boxes of the nodules on the CT's network grid.

        A nodule that no voxel is agreed on (one of four readers marked it, mostly) is a region to ignore: neither
        lesion nor background.

        Raises:
            InputError: an outline lies outside the scan.
        """
        lesions: list[VolumeLesion] = []
        unrated = 0
        nodules, empty = self._nodules(geometry)
        for marks in nodules:
            ratings = [mark.malignancy for mark in marks if mark.malignancy is not None]
            voxels = agreed_voxels(marks, self._needed)
            if not len(voxels) or not ratings:
                unrated += bool(len(voxels))
                everything = np.unique(np.concatenate([mark.voxels for mark in marks]), axis=0)
                lesions.append(_boxed(everything, BENIGN, "ignore"))
                continue
            label = MALIGNANT if self._rated(ratings) >= FIRST_MALIGNANT_RATING else BENIGN
            lesions.append(_boxed(voxels, label, "lesion"))
        notes = []
        if empty:
            notes.append("an outline has no pixel inside and was left out")
        if unrated:
            notes.append("a nodule has no rating of malignancy and is ignored")
        return FoundLesions(lesions, notes)

    def instance_mask(self, geometry: VolumeGeometry) -> np.ndarray:
        """Voxels of the nodules as uint16 ``[Z, H, W]`` on the network grid: k for the k-th lesion found, from 1.

        Regions to ignore keep their number free. Where nodules meet, the later one has the voxel.
        """
        mask = np.zeros(geometry.shape_zyx, dtype=np.uint16)
        for number, marks in enumerate(self._nodules(geometry)[0], start=1):
            if any(mark.malignancy is not None for mark in marks):
                mask[tuple(agreed_voxels(marks, self._needed).T)] = number
        return mask

    @property
    def _needed(self) -> float:
        return self.agreement * self.reading.readers

    def _rated(self, ratings: Sequence[int]) -> float:
        if self.rating == "median":
            return statistics.median(ratings)
        return sum(ratings) / (len(ratings) if self.rating == "mean" else max(len(ratings), self.reading.readers))

    def _nodules(self, geometry: VolumeGeometry) -> tuple[list[list[MarkedVoxels]], int]:
        """Marks nodule by nodule, from feet to head, and the number of marks without a voxel."""
        marked = [marked_voxels(nodule, geometry) for nodule in self.reading.nodules]
        marks = [mark for mark in marked if mark is not None]
        tolerance = geometry.spacing_mm[2] if self.tolerance_mm is None else self.tolerance_mm
        groups = same_nodule(marks, geometry.spacing_mm, self.reading.readers, tolerance)
        nodules = [[marks[i] for i in group] for group in groups]
        nodules.sort(key=lambda group: np.min([mark.voxels.min(axis=0) for mark in group], axis=0).tolist())
        return nodules, len(marked) - len(marks)


def read_lidc(
    source: Path,
    *,
    allow_missing: bool = False,
    agreement: float = 0.5,
    rating: Rating = "mean",
    masks: bool = False,
) -> VolumeCases:
    """List the CT series of LIDC-IDRI with their readings; of the images one header a series is read.

    Args:
        source: folder with TCIA's ``LIDC-IDRI/LIDC-IDRI-0001/<study>/<series>/*.dcm`` and the XML files, beside the
            images (older downloads) or anywhere below ``source`` (``LIDC-XML-only``). They are joined by series UID.
            Chest radiographs and their readings are passed over.
        allow_missing: leave out series without XML, and XML without series, instead of failing.
        agreement: see `ReadNodules`; 0.5 is the majority vote of section 4.1, of all readers of a scan.
        rating: see `Rating`.
        masks: have the agreed voxels of the nodules written beside the slices.

    Returns:
        series by patient and UID; ``series_id`` is ``LIDC-IDRI-0001``, with ``-2`` for a patient's second CT (eight
        patients have two). Labels are 1 = benign (1, 2), 2 = malignant (3 to 5).

    Raises:
        InputError: no CT, a series without XML or the reverse, two different XML files of one series.
    """
    if not 0 < agreement <= 1 or rating not in get_args(Rating):
        raise InputError(
            f"agreement {agreement} and rating '{rating}' were given; expected a share above 0 and up to 1, and one of "
            f"{', '.join(get_args(Rating))}"
        )
    source = Path(source)
    series, readings = _list(source)
    if not series:
        raise InputError(
            f"{source} holds no CT of LIDC-IDRI; expected folders such as LIDC-IDRI-0001 with DICOM files, so download "
            "them from TCIA there"
        )
    warnings = []
    for what, missing, of in (
        ("CT series have no XML", sorted(set(series) - set(readings)), len(series)),
        ("XML files have no CT series", sorted(set(readings) - set(series)), len(readings)),
    ):
        if missing:
            told = f"{len(missing)} of {of} {what}"
            if not allow_missing:
                raise InputError(
                    f"{told}, the first of them {missing[0]}; download images and XML of the same patients, or pass "
                    "--allow-missing to leave those out."
                )
            warnings.append(f"{told} and were left out.")
    cases: list[VolumeCase] = []
    seen: dict[str, int] = {}
    for uid, (patient, folder) in sorted(series.items(), key=lambda entry: (entry[1][0], entry[0])):
        if uid not in readings:
            continue
        seen[patient] = seen.get(patient, 0) + 1
        name = re.sub(r"[^A-Za-z0-9]+", "-", patient).strip("-")
        series_id = name if seen[patient] == 1 else f"{name}-{seen[patient]}"
        nodules = ReadNodules(readings[uid], agreement, rating)
        find_mask = nodules.instance_mask if masks else None
        cases.append(VolumeCase(series_id, name, folder, nodules, find_mask=find_mask))
    if not cases:
        raise InputError(f"{source} holds no CT series with its XML; expected both of the same patients")
    empty = sum(not case.find_lesions.reading.nodules for case in cases)  # type: ignore[attr-defined]
    if empty:
        warnings.append(f"{empty} of {len(cases)} scans have no nodule of at least 3 mm and are negative throughout.")
    return VolumeCases(cases, warnings)


def _list(source: Path) -> tuple[dict[str, tuple[str, Path]], dict[str, ScanReading]]:
    """``(patient, folder)`` of every CT series, and every reading, both by series UID."""
    series: dict[str, tuple[str, Path]] = {}
    found: dict[str, tuple[Path, ScanReading]] = {}
    for folder, _, names in sorted(os.walk(source)):
        place = Path(folder)
        visible = sorted(name for name in names if not name.startswith("."))
        for name in visible:
            if name.lower().endswith(".xml"):
                reading = read_lidc_xml(place / name)
                if reading is not None:
                    _add_reading(found, place / name, reading)
        header = _header(place, [name for name in visible if name.lower().endswith(".dcm")])
        if header is None or header.get("Modality") != "CT":
            continue
        uid, patient = str(header.get("SeriesInstanceUID", "")), str(header.get("PatientID", "")).strip()
        if not uid or not patient:
            raise InputError(
                f"a DICOM file below {source.name} names no series or patient; expected TCIA's files, download it anew"
            )
        if uid in series:
            raise InputError(f"the series {uid} was found in two folders; expected it once, so remove one of them")
        series[uid] = (patient, place)
    return series, {uid: reading for uid, (_, reading) in found.items()}


def _add_reading(found: dict[str, tuple[Path, ScanReading]], path: Path, reading: ScanReading) -> None:
    # Both downloads hold the same files; unpacked together each is there twice.
    before = found.get(reading.series_uid)
    if before is not None and before[0].read_bytes() != path.read_bytes():
        raise InputError(
            f"the XML files {before[0].name} and {path.name} are of one series and differ; expected one, so "
            "remove the other"
        )
    found.setdefault(reading.series_uid, (path, reading))


def _header(folder: Path, names: Sequence[str]) -> pydicom.Dataset | None:
    for name in names:
        try:
            return pydicom.dcmread(folder / name, stop_before_pixels=True, specific_tags=_TAGS)
        except (InvalidDicomError, OSError):
            continue
    return None


def _boxed(voxels: np.ndarray, label: int, kind: Kind) -> VolumeLesion:
    """Tight boxes of voxels ``[N, 3]`` (z, y, x), sorted by z."""
    slices, start = np.unique(voxels[:, 0], return_index=True)
    low = np.minimum.reduceat(voxels[:, :0:-1], start)
    high = np.maximum.reduceat(voxels[:, :0:-1], start) + 1
    boxes = np.concatenate([low, high], axis=1).astype(np.float64)
    (z1, y1, x1), (z2, y2, x2) = voxels.min(axis=0).tolist(), (voxels.max(axis=0) + 1).tolist()
    extent = (float(x1), float(y1), float(z1), float(x2), float(y2), float(z2))
    return VolumeLesion(slices.astype(np.int64), boxes, extent, LUNG, label, kind)
