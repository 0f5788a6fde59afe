"""The CT that the findings are about: its headers, and where each of its image planes lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from lesion_app.errors import InputError
from transforms.ct_source import AIR_HU, decoding

MULTI_FRAME = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "Rows", "Columns")


@dataclass(frozen=True, eq=False)
class SlicePlane:
    """One image plane: a single-frame instance, or a frame of a multi-frame one.

    Args:
        header: of the instance, without pixels.
        file: that holds it.
        frame: number from 1; None for a single-frame instance.
        affine_lps: [4, 4] float64, pixel-centre index (column, row, mm along the normal, 1) to LPS mm.
        rescale: slope and intercept to HU.
        window: first display window (center, width) in HU that the image names, or None.
    """

    header: Dataset
    file: Path
    frame: int | None
    affine_lps: np.ndarray
    rescale: tuple[float, float]
    window: tuple[float, float] | None

    @property
    def size(self) -> tuple[int, int]:
        """Columns, rows."""
        return int(self.header.Columns), int(self.header.Rows)

    @property
    def sop_class_uid(self) -> str:
        return str(self.header.SOPClassUID)

    @property
    def instance_uid(self) -> str:
        return str(self.header.SOPInstanceUID)

    @property
    def frames(self) -> list[int] | None:
        """Frame number in the form that references to images take."""
        return None if self.frame is None else [self.frame]

    def hounsfield(self) -> np.ndarray:
        """Decode the plane: float32 [rows, columns] in HU, padding as air.

        Raises:
            InputError: when the pixels cannot be decoded.
        """
        from pydicom.pixels import pixel_array

        with decoding(self.file.name, "a DICOM CT image"):
            stored = pixel_array(self.file, index=None if self.frame is None else self.frame - 1)
            if stored.shape != self.size[::-1]:
                raise ValueError("the pixel data are not one plane of Rows x Columns")
            slope, intercept = self.rescale
            hu = stored.astype(np.float32) * slope + intercept
            padding = self.header.get("PixelPaddingValue")
            if padding is not None:
                limit = self.header.get("PixelPaddingRangeLimit", padding)
                low, high = sorted((int(padding), int(limit)))
                hu[(stored >= low) & (stored <= high)] = AIR_HU
        return hu


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """Headers of a CT series and all of its planes, both in the order of their positions along the slices' normal."""

    headers: tuple[Dataset, ...]
    planes: tuple[SlicePlane, ...]

    @property
    def uid(self) -> str:
        return str(self.headers[0].SeriesInstanceUID)

    @property
    def frame_of_reference_uid(self) -> str:
        return str(self.headers[0].FrameOfReferenceUID)

    @property
    def is_multi_frame(self) -> bool:
        return self.planes[0].frame is not None


def read_source_series(document: Mapping[str, Any], files: Sequence[Path]) -> SourceSeries:
    """Read the headers of the CT that ``document`` (the content of ``lesions.json``) was made from.

    Args:
        document: its ``source`` must be a DICOM series.
        files: the instances of that series: single-frame CT images, or enhanced (multi-frame) ones. Any order.

    Raises:
        InputError: another series, something else than CT images, or an attribute missing that the findings must
            refer to.
    """
    source = document["source"]
    if source["kind"] != "dicom":
        raise InputError(
            f"the lesions were found in a {source['kind']} file, but DICOM findings need a DICOM series to be filed "
            "with; run the detection on the DICOM series"
        )
    if not files:
        raise InputError("no DICOM file was handed in for the findings; give the files of the CT series")
    headers: list[Dataset] = []
    planes: list[SlicePlane] = []
    for file in map(Path, files):
        with decoding(file.name, "a DICOM CT image"):
            header = pydicom.dcmread(file, stop_before_pixels=True)
            _check_header(header, file.name, str(source["series_uid"]))
            planes += _planes_of(header, file)
        headers.append(header)
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "SOPClassUID"):
        if len({str(header[keyword].value) for header in headers}) > 1:
            raise InputError(
                f"{keyword} differs between the {len(headers)} files of the CT series; expected one value, so give "
                "the files of one series as the scanner sent them"
            )
    if len({str(header.SOPInstanceUID) for header in headers}) < len(headers):
        raise InputError("two files of the CT series hold the same image; give each image once")
    planes.sort(key=lambda plane: (float(plane.affine_lps[:3, 2] @ plane.affine_lps[:3, 3]), plane.instance_uid))
    rank = {plane.instance_uid: number for number, plane in enumerate(planes)}
    headers.sort(key=lambda header: rank[str(header.SOPInstanceUID)])
    return SourceSeries(tuple(headers), tuple(planes))


def _check_header(header: Dataset, name: str, series_uid: str) -> None:
    sop_class = header.get("SOPClassUID")
    if sop_class != CTImageStorage and sop_class not in MULTI_FRAME:
        raise InputError(f"{name} is no CT image; expected only the files of the CT series that was looked at")
    lacking = [keyword for keyword in _NEEDED if not header.get(keyword)]
    if lacking:
        raise InputError(
            f"{name} has no {lacking[0]}, which findings must refer to; export the series anew with its identifiers "
            "and frame of reference"
        )
    if str(header.SeriesInstanceUID) != series_uid:
        raise InputError(
            f"{name} belongs to another series than the lesions were found in; give the files of that series"
        )


def _planes_of(header: Dataset, file: Path) -> list[SlicePlane]:
    if header.SOPClassUID not in MULTI_FRAME:
        return [_plane(header, file, None, [header])]
    shared = header.SharedFunctionalGroupsSequence[0]
    frames = header.PerFrameFunctionalGroupsSequence
    return [_plane(header, file, number, [frame, shared]) for number, frame in enumerate(frames, start=1)]


def _plane(header: Dataset, file: Path, frame: int | None, groups: Sequence[Dataset]) -> SlicePlane:
    def value(sequence: str, keyword: str) -> Any:
        """What the frame's own group says, else the shared one; single-frame headers hold it directly."""
        for group in groups:
            holder = group if frame is None else next(iter(group.get(sequence) or ()), None)
            if holder is not None and holder.get(keyword) is not None:
                return holder[keyword].value
        return None

    position = value("PlanePositionSequence", "ImagePositionPatient")
    orientation = value("PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = value("PixelMeasuresSequence", "PixelSpacing")
    if position is None or orientation is None or spacing is None:
        raise InputError(
            f"{file.name} has no ImagePositionPatient, ImageOrientationPatient or PixelSpacing; findings cannot be "
            "placed in it, so export the series anew"
        )
    along_row, along_column = np.asarray(orientation, dtype=np.float64).reshape(2, 3)
    along_row, along_column = along_row / np.linalg.norm(along_row), along_column / np.linalg.norm(along_column)
    normal = np.cross(along_row, along_column)
    row_step, column_step = (float(step) for step in spacing)
    affine = np.eye(4)
    affine[:3] = np.stack(
        [
            along_row * column_step,
            along_column * row_step,
            normal / np.linalg.norm(normal),
            np.asarray(position, float),
        ],
        axis=1,
    )
    slope = value("PixelValueTransformationSequence", "RescaleSlope")
    intercept = value("PixelValueTransformationSequence", "RescaleIntercept")
    centers = np.atleast_1d(np.asarray(value("FrameVOILUTSequence", "WindowCenter") or [], dtype=float))
    widths = np.atleast_1d(np.asarray(value("FrameVOILUTSequence", "WindowWidth") or [], dtype=float))
    window = (float(centers[0]), float(widths[0])) if centers.size and widths.size and widths[0] >= 1 else None
    return SlicePlane(
        header,
        file,
        frame,
        affine,
        (1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)),
        window,
    )
