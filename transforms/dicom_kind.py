"""Say in words what a DICOM object is, and tell slices of a CT in HU from everything else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from transforms.dicom_slice import MULTI_FRAME, frame_value, named

CT_SLICE = "CT slice"
NOT_DICOM = "file that is not DICOM"
DAMAGED = "damaged DICOM file"
NOT_A_SLICE = ("LOCALIZER", "SCREEN SAVE", "SCOUT", "SURVIEW", "TOPOGRAM")
LOCALIZER = f"CT localizer or screen capture by {named('ImageType')}"
HU_TYPES = ("", "HU", "US")  # "US" is DICOM's "unspecified", written by scanners for plain HU
# Value 4 of an enhanced CT's FrameType (PS3.3 C.8.16.1.4) that leaves HU; others are perfusion maps, subtractions ...
KEEPS_HU = ("", "NONE", "FILTERED", "MEAN", "MEDIAN", "RESAMPLED")


def kind_of(header: Dataset) -> str:
    """`CT_SLICE`, or what else the object is, in words without patient data.

    A CT slice is grey, in HU, and of a class whose position in the patient is known: CT Image Storage, or the
    frames of an Enhanced or Legacy Converted Enhanced CT that is a volume of plain slices.
    """
    sop_class, modality = header.get("SOPClassUID"), str(header.get("Modality") or "other DICOM")
    if modality != "CT":
        return f"{modality} object by {named('Modality')}"
    if sop_class != CTImageStorage and sop_class not in MULTI_FRAME:
        return f"CT object other than an image slice by {named('SOPClassUID')}"
    if any(word in part for word in NOT_A_SLICE for part in words(header.get("ImageType"))):
        return LOCALIZER
    grey = header.get("SamplesPerPixel") == 1 and header.get("PhotometricInterpretation") == "MONOCHROME2"
    if not (grey and all(header.get(key) for key in ("Rows", "Columns", "BitsAllocated"))):
        return f"CT object without grey pixels by {named('PhotometricInterpretation')}"
    frames = int(header.get("NumberOfFrames") or 1)
    if sop_class == CTImageStorage and frames > 1:
        return f"CT slice with several frames, which its class does not allow, by {named('NumberOfFrames')}"
    return _kind_of_frames(header, range(frames) if sop_class in MULTI_FRAME else [None])


def words(values: Any) -> list[str]:
    """The values of a code string attribute, however many, in upper case."""
    if values is None:
        return []
    return [str(value).upper().strip() for value in ([values] if isinstance(values, str) else values)]


def _kind_of_frames(header: Dataset, frames: Iterable[int | None]) -> str:
    for frame in frames:
        if str(frame_value(header, frame, "RescaleType") or "").upper() not in HU_TYPES:
            return f"CT image in units other than HU by {named('RescaleType')}"
        if frame is None:
            continue
        frame_type = words(frame_value(header, frame, "FrameType") or header.get("ImageType"))
        if any(word in part for word in NOT_A_SLICE for part in frame_type):
            return LOCALIZER
        if len(frame_type) > 3 and frame_type[3] not in KEEPS_HU:
            return f"multi-frame CT of computed values ({frame_type[3][:16]}) by {named('FrameType')}"
        volume = str(frame_value(header, frame, "VolumetricProperties") or "VOLUME")
        technique = str(frame_value(header, frame, "VolumeBasedCalculationTechnique") or "NONE")
        if volume != "VOLUME" or technique != "NONE":
            return f"multi-frame CT of a computed view by {named('VolumetricProperties')}"
    return CT_SLICE
