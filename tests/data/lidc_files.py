"""LIDC-IDRI in TCIA's format, made up.

The quirks of the real set that the files have: the XML has a namespace and lies in the series' folder or apart;
nodules below 3 mm are single points with empty characteristics; outlines lie on the first pixels outside a nodule and
may cut holes; end slices may have a single point; readers number nodules each for himself; radiographs and their
readings lie between the CTs; a patient may have two CTs; files are numbered against the z order.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

DEPTH, SIDE = 6, 40
Z0, DZ = -120.5, 2.5
SPACING = 0.7


def uid(*names: str) -> str:
    return generate_uid(entropy_srcs=list(names))


def write_series(folder: Path, patient: str, name: str, modality: str = "CT") -> str:
    """A series of six slices (one file of a radiograph); returns its UID."""
    folder.mkdir(parents=True)
    for k in range(DEPTH if modality == "CT" else 1):
        dicom = pydicom.Dataset()
        dicom.file_meta = FileMetaDataset()
        dicom.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dicom.SOPClassUID = dicom.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dicom.SOPInstanceUID = dicom.file_meta.MediaStorageSOPInstanceUID = uid(patient, name, str(k))
        dicom.StudyInstanceUID, dicom.FrameOfReferenceUID = uid(patient, "study"), uid(patient, name, "frame")
        dicom.SeriesInstanceUID = uid(patient, name)
        dicom.Modality, dicom.ImageType, dicom.PatientID = modality, ["ORIGINAL", "PRIMARY", "AXIAL"], patient
        dicom.InstanceNumber = DEPTH - k
        dicom.ImagePositionPatient = [-10.0, -20.0, Z0 + k * DZ]
        dicom.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dicom.PixelSpacing, dicom.SliceThickness = [SPACING, SPACING], DZ
        dicom.Rows = dicom.Columns = SIDE
        dicom.SamplesPerPixel, dicom.PhotometricInterpretation = 1, "MONOCHROME2"
        dicom.BitsAllocated, dicom.BitsStored, dicom.HighBit, dicom.PixelRepresentation = 16, 16, 15, 1
        dicom.RescaleSlope, dicom.RescaleIntercept = 1, -1024
        pixels = np.full((SIDE, SIDE), 24, dtype="<i2")  # HU + 1024: air around a body
        pixels[2:-2, 2:-2] = 1064 + k
        dicom.PixelData = pixels.tobytes()
        dicom.save_as(folder / f"{DEPTH - k:06d}.dcm", enforce_file_format=True)
    return uid(patient, name)


def square(x: int, y: int, side: int) -> list[tuple[int, int]]:
    """The outline around the pixels x .. x + side - 1, y .. y + side - 1."""
    low_x, low_y, high_x, high_y = x - 1, y - 1, x + side, y + side
    top = [(i, low_y) for i in range(low_x, high_x)]
    right = [(high_x, i) for i in range(low_y, high_y)]
    return [
        *top,
        *right,
        *((i, high_y) for i in range(high_x, low_x, -1)),
        *((low_x, i) for i in range(high_y, low_y, -1)),
    ]


def roi(k: int, points: list[tuple[int, int]], inclusion: str = "TRUE") -> str:
    edges = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points)
    z = f"<imageZposition>{Z0 + k * DZ:.6f} </imageZposition><imageSOP_UID>1.2.{k}</imageSOP_UID>"
    return f"<roi>{z}<inclusion>{inclusion}</inclusion>{edges}</roi>"


def nodule(name: str, malignancy: int | str | None, *rois: str) -> str:
    rated = "" if malignancy is None else f"<subtlety>4</subtlety><malignancy>{malignancy}</malignancy>"
    return (
        f"<unblindedReadNodule><noduleID>{name}</noduleID><characteristics>{rated}</characteristics>"
        f"{''.join(rois)}</unblindedReadNodule>"
    )


def small(k: int, x: int, y: int) -> str:
    return nodule("small", None, roi(k, [(x, y)]))


def message(series: str, *sessions: str, kind: str = "LidcReadMessage", tag: str = "SeriesInstanceUid") -> str:
    other = (
        "<nonNodule><nonNoduleID>1</nonNoduleID><imageZposition>-118</imageZposition>"
        "<locus><xCoord>3</xCoord><yCoord>4</yCoord></locus></nonNodule>"
    )
    read = "".join(
        f"<readingSession><annotationVersion>3.12</annotationVersion>{s}{other}</readingSession>" for s in sessions
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{kind} uid="1.3.6" xmlns="http://www.nih.gov"><ResponseHeader>'
        f"<Version>1.8.1</Version><{tag}>{series}</{tag}></ResponseHeader>{read}</{kind}>"
    )


def write_lidc(folder: Path) -> Path:
    """Two patients: the first with three nodules and a radiograph, the second with two CTs without nodules."""
    root = folder / "LIDC-IDRI"
    first = root / "LIDC-IDRI-0001" / "01-01-2000-30178"
    series = write_series(first / "3000566-03192", "LIDC-IDRI-0001", "ct")
    big = [roi(k, square(10, 12, 6)) for k in (1, 2, 3)]
    sessions = [
        # a hole of one pixel in slice 2, and a single point above the nodule
        nodule("Nodule 001", 5, *big, roi(2, square(12, 14, 1), "FALSE"), roi(4, [(12, 12)]))
        + nodule("Nodule 002", 2, roi(4, square(30, 5, 3))),
        nodule("1", 4, *big) + nodule("2", 1, roi(4, square(31, 5, 3))) + small(0, 3, 3),
        nodule("A", 2, roi(2, square(11, 12, 6))) + nodule("B", 3, roi(0, square(5, 30, 2))),
        "",
    ]
    (first / "3000566-03192" / "069.xml").write_text(message(series, *sessions))
    radiograph = write_series(
        root / "LIDC-IDRI-0001" / "01-01-2000-35511" / "3000923-62357", "LIDC-IDRI-0001", "dx", "DX"
    )
    (root / "LIDC-IDRI-0001" / "01-01-2000-35511" / "3000923-62357" / "068.xml").write_text(
        message(radiograph, "<unblindedRead/>", kind="IdriReadMessage", tag="CXRSeriesInstanceUid")
    )
    apart = folder / "tcia-lidc-xml" / "157"
    apart.mkdir(parents=True)
    (apart / "158.xml").write_text((first / "3000566-03192" / "069.xml").read_text())  # both downloads unpacked
    for name in ("early", "late"):
        series = write_series(root / "LIDC-IDRI-0132" / "01-01-2000-1" / name, "LIDC-IDRI-0132", name)
        (apart / f"{name}.xml").write_text(message(series, small(1, 8, 8), "", "", ""))
    return folder
