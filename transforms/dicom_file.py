"""Read the header of one DICOM file and see, without decoding, whether its pixels are all there."""

from __future__ import annotations

import os
import struct
import warnings
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.config import disable_value_validation
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import get_decoder
from pydicom.uid import UID, CTImageStorage, DeflatedExplicitVRLittleEndian

from transforms.dicom_slice import MULTI_FRAME, named

CT_CLASSES = (CTImageStorage, *MULTI_FRAME)
PIXEL_DATA = (0x7FE0, 0x0010)
UNDEFINED_LENGTH = 0xFFFFFFFF
# All that choosing, checking and placing a series needs; no attribute that names the patient is even read.
ATTRIBUTES = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SeriesNumber", "Modality"),
    *("ImageType", "VolumetricProperties", "VolumeBasedCalculationTechnique", "ConvolutionKernel"),
    *("ContrastBolusAgent", "ContrastBolusAgentSequence", "GantryDetectorTilt", "SliceThickness"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames"),
    *("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]


def is_dicom(path: Path) -> bool:
    """Whether the file has the preamble of DICOM part 10."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


@dataclass(frozen=True, eq=False)
class DicomFile:
    """A DICOM file without its pixels.

    Args:
        path: the file.
        header: those of `ATTRIBUTES` that it has and that can be read; None when it cannot be parsed.
        sop_class: SOP class by the file meta information, else by the data set, "" when neither tells.
        whole_header: whether all attributes before the pixels are there and can be read (of CT images: up to the
            pixels); what an object is cannot be told for sure without.
        fault: what is wrong with a CT image as a file, None when it can be decoded as far as the header tells.
    """

    path: Path
    header: Dataset | None
    sop_class: str
    whole_header: bool
    fault: str | None


def read_dicom_file(path: Path) -> DicomFile | None:
    """Read the header of a file, or None when it is no DICOM part 10 file.

    Nothing of the pixels is decoded, but a file of a CT class that was cut short or that no decoder here
    can read is told by ``fault``.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        start = file.read(144)
        if start[128:132] != b"DICM":
            return None
        # pydicom's warnings quote values, which in a damaged file may be anything that stands in it.
        with disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if _meta_is_cut(start, os.fstat(file.fileno()).st_size):
                return DicomFile(path, None, "", False, "it ends inside its file meta information")
            file.seek(0)
            try:
                header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(ATTRIBUTES))
                return _judged(path, file, header)
            except Exception as error:  # a damaged header raises anything
                fault = f"its header cannot be parsed ({type(error).__name__})"
                return DicomFile(path, None, _meta_class(path), False, fault)


def _judged(path: Path, file: BinaryIO, header: FileDataset) -> DicomFile:
    """``file`` stands where reading the header stopped."""
    classes = [_text(header.file_meta, "MediaStorageSOPClassUID"), _text(header, "SOPClassUID")]
    sop_class = next((one for one in classes if one in CT_CLASSES), classes[0] or classes[1])
    if sop_class not in CT_CLASSES:
        for keyword in ATTRIBUTES:
            if keyword.endswith("Sequence"):  # the frames of a large SEG, say, take long to parse
                header.pop(keyword, None)
        unread = _convert(header)
        return DicomFile(path, header, sop_class, unread is None, unread)
    unread = _convert(header)
    deflated = header.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    if unread or deflated:  # a deflated file that was cut does not inflate
        return DicomFile(path, header, sop_class, unread is None, unread)
    length = _pixel_length(file, header)
    if length is None:
        return DicomFile(path, header, sop_class, False, f"it ends before {named('PixelData')}, or has none")
    return DicomFile(path, header, sop_class, True, _pixel_fault(file, header, length))


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        return str(dataset.get(keyword) or "")
    except Exception:  # as in _convert
        return ""


def _convert(header: Dataset) -> str | None:
    """Turn all raw values into numbers and texts; those that will not turn are taken out, and the first is told."""
    fault = None
    for tag in list(header.keys()):
        raw = header.get_item(tag)
        length, value = getattr(raw, "length", None), raw.value
        try:
            if isinstance(value, bytes) and length != UNDEFINED_LENGTH and length is not None and length != len(value):
                raise EOFError
            if header[tag].VR == "SQ":
                for item in header[tag].value:
                    deque(item.iterall(), maxlen=0)
        except Exception as error:  # of a damaged value: anything
            del header[tag]
            keyword = keyword_for_tag(tag)
            fault = fault or f"{named(keyword) if keyword else 'its header'} cannot be read ({type(error).__name__})"
    return fault


def _meta_is_cut(start: bytes, size: int) -> bool:
    """Whether the file ends before the file meta information does, whose length stands first (PS3.10 7.1)."""
    if len(start) < 144:
        return True
    group, element, length = struct.unpack("<HH4xI", start[132:])
    return (group, element) == (0x0002, 0x0000) and 144 + length > size


def _meta_class(path: Path) -> str:
    try:
        return str(read_file_meta_info(path).get("MediaStorageSOPClassUID") or "")
    except Exception:  # as in read_dicom_file
        return ""


def _pixel_length(file: BinaryIO, header: FileDataset) -> int | None:
    """Length that the pixel data claim, before whose tag ``file`` stands; None where they do not follow."""
    implicit, little = header.original_encoding
    order = "<" if little else ">"
    head = file.read(8 if implicit else 12)
    if len(head) < (8 if implicit else 12) or struct.unpack(f"{order}HH", head[:4]) != PIXEL_DATA:
        return None
    return int(struct.unpack(f"{order}I", head[-4:])[0])


def _pixel_fault(file: BinaryIO, header: FileDataset, length: int) -> str | None:
    """Follow the pixel data's lengths through the file, which stands at their first byte."""
    unreadable = _decoder_fault(header.file_meta.get("TransferSyntaxUID"))
    if unreadable:
        return unreadable
    frames = int(header.get("NumberOfFrames") or 1)
    end = os.fstat(file.fileno()).st_size
    if length == UNDEFINED_LENGTH:
        return _fragment_fault(file, end, frames)
    needed = int(header.Rows) * int(header.Columns) * frames * int(header.BitsAllocated) // 8
    there = min(length, end - file.tell())
    if there < needed:
        return f"{named('PixelData')} has {there} of {needed} bytes, so the file was cut short"
    return None


def _decoder_fault(syntax: UID | None) -> str | None:
    if syntax is None:
        return f"{named('TransferSyntaxUID')} is missing"
    try:
        if not syntax.is_encapsulated or get_decoder(syntax).is_available:
            return None
    except NotImplementedError:
        pass
    return f"{named('TransferSyntaxUID')} is {syntax.name}, a compression that cannot be decoded here"


def _fragment_fault(file: BinaryIO, end: int, frames: int) -> str | None:
    """Walk the items of compressed pixel data (PS3.5 A.4): an offset table, then one fragment a frame or more."""
    items = 0
    while len(head := file.read(8)) == 8:
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == (0xFFFE, 0xE0DD):
            break
        if (group, element) != (0xFFFE, 0xE000) or file.tell() + length > end:
            return f"a fragment of {named('PixelData')} is damaged or cut short"
        file.seek(length, os.SEEK_CUR)
        items += 1
    if items - 1 < frames:
        return f"{named('PixelData')} has {max(items - 1, 0)} compressed fragments for {frames} frames"
    return None
