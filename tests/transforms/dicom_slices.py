"""CT slices and series as DICOM files of a few pixels."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1, 0, 0, 0, 1, 0)
SERIES = generate_uid(entropy_srcs=["series"])


def write_slice(folder, name, position, stored=None, **changes):
    """Write one CT slice of 5 columns x 4 rows, HU = stored - 1024; an attribute set to None is left out."""
    pixels = np.full((4, 5), 1000) if stored is None else np.asarray(stored)
    pixels = pixels.copy()
    if stored is None:
        pixels[0, 0], pixels[1, 2] = 24, 1524
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = changes.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(str(folder / name), {}, file_meta=meta, preamble=b"\0" * 128)
    values = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "SeriesInstanceUID": SERIES,
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "PixelSpacing": [0.8, 0.7],
        "ImagePositionPatient": list(position),
        "ImageOrientationPatient": list(AXIAL),
        "SliceThickness": 3,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        **changes,
    }
    for key, value in values.items():
        if value is not None:
            setattr(dataset, key, value)
    dataset.PixelData = pixels.astype(np.int64).astype(np.uint16).tobytes()  # two's complement serves both signs
    dataset.save_as(folder / name, enforce_file_format=True)
    return folder / name


def write_series(folder, zs=(0, 2, 4, 6), **changes):
    for number, z in enumerate(zs):
        write_slice(folder, f"{number:03d}.dcm", (10, 20, z), **changes)
    return folder
