"""What the header of a DICOM file says about each CT slice in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

MULTI_FRAME = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
LENGTHS = ("PixelSpacing", "SliceThickness")
# Where a multi-frame object keeps an attribute (PS3.3 C.7.6.16.2 and C.8.15.3).
FUNCTIONAL_GROUP = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "RescaleType": "PixelValueTransformationSequence",
    "FrameType": "CTImageFrameTypeSequence",
    "VolumetricProperties": "CTImageFrameTypeSequence",
    "VolumeBasedCalculationTechnique": "CTImageFrameTypeSequence",
    "ConvolutionKernel": "CTReconstructionSequence",
    "GantryDetectorTilt": "CTGeometrySequence",
}


def named(keyword: str) -> str:
    """A DICOM attribute as messages write it: ``PixelSpacing (0028,0030)``."""
    tag = tag_for_keyword(keyword) or 0
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


@dataclass(frozen=True, eq=False)
class Slice:
    """One CT slice as its header tells it; None where an attribute is missing or unusable.

    Args:
        file: the file it lies in.
        frame: 0-based frame of a multi-frame object, None for an object of one slice.
        instance_uid: SOPInstanceUID.
        frame_of_reference: FrameOfReferenceUID, "" when missing.
        size: columns, rows.
        position: [3] LPS mm, centre of the first pixel.
        orientation: [2, 3] direction of rising column, of rising row.
        spacing: [2] mm between rows, between columns.
        rescale: [2] slope, intercept; of this slice.
        thickness: mm.
        tilt: GantryDetectorTilt, degrees.
        padding: lowest and highest stored value that stands for "outside the scan".
    """

    file: Path
    frame: int | None
    instance_uid: str
    frame_of_reference: str
    size: tuple[int, int]
    position: np.ndarray | None
    orientation: np.ndarray | None
    spacing: np.ndarray | None
    rescale: np.ndarray | None
    thickness: float | None
    tilt: float | None
    padding: tuple[int, int] | None

    @property
    def name(self) -> str:
        """File name, with the frame's number (from 1, as DICOM counts) where the file holds several."""
        return self.file.name if self.frame is None else f"{self.file.name} frame {self.frame + 1}"


def slices_of(file: Path, header: Dataset) -> list[Slice]:
    """Collect the slices of one object: one, or the frames of an enhanced CT; faults are judged later."""
    if header.get("SOPClassUID") not in MULTI_FRAME:
        return [_slice(file, header, None)]
    return [_slice(file, header, frame) for frame in range(int(header.get("NumberOfFrames") or 1))]


def frame_value(header: Dataset, frame: int | None, keyword: str) -> Any:
    """Value of an attribute for one frame: its own functional group, else the shared one, else the object's own."""
    if frame is not None:
        group = FUNCTIONAL_GROUP[keyword]
        own = header.get("PerFrameFunctionalGroupsSequence") or []
        for groups in (own[frame : frame + 1], header.get("SharedFunctionalGroupsSequence") or []):
            for item in groups:
                for macro in item.get(group) or []:
                    if macro.get(keyword) is not None:
                        return macro.get(keyword)
    return header.get(keyword)


def _slice(file: Path, header: Dataset, frame: int | None) -> Slice:
    orientation = _numbers(header, frame, ("ImageOrientationPatient",), 6)
    thickness = _numbers(header, frame, ("SliceThickness",), 1)
    tilt = _numbers(header, frame, ("GantryDetectorTilt",), 1)
    rescale = _numbers(header, frame, ("RescaleSlope", "RescaleIntercept"), 2)
    return Slice(
        file,
        frame,
        str(header.get("SOPInstanceUID") or ""),
        str(header.get("FrameOfReferenceUID") or ""),
        (int(header.Columns), int(header.Rows)),
        _numbers(header, frame, ("ImagePositionPatient",), 3),
        None if orientation is None else orientation.reshape(2, 3),
        _numbers(header, frame, ("PixelSpacing",), 2),
        None if rescale is None or rescale[0] == 0 else rescale,
        None if thickness is None else float(thickness[0]),
        None if tilt is None else float(tilt[0]),
        _padding(header),
    )


def _numbers(header: Dataset, frame: int | None, keywords: Sequence[str], count: int) -> np.ndarray | None:
    """The finite numbers of one or several attributes, or None."""
    try:
        values = np.concatenate(
            [np.atleast_1d(np.asarray(frame_value(header, frame, key), dtype=np.float64)) for key in keywords]
        )
    except (TypeError, ValueError):
        return None
    if values.shape != (count,) or not np.isfinite(values).all():
        return None
    return None if keywords[0] in LENGTHS and values.min() <= 0 else values


def _padding(header: Dataset) -> tuple[int, int] | None:
    """Stored values from PixelPaddingValue to PixelPaddingRangeLimit (PS3.3 C.7.5.1.1.2), in the pixels' own sign."""
    value, limit = header.get("PixelPaddingValue"), header.get("PixelPaddingRangeLimit")
    try:
        ends = [int(end) for end in (value, value if limit is None else limit)]
    except (TypeError, ValueError):
        return None
    bits, signed = int(header.get("BitsAllocated") or 16), header.get("PixelRepresentation") == 1
    # Scanners write -2000 as 63536 (US) beside signed pixels and the other way round; the bits are what is meant.
    ends = [end % (1 << bits) for end in ends]
    if signed:
        ends = [end - (1 << bits) if end >= 1 << (bits - 1) else end for end in ends]
    return min(ends), max(ends)
