"""A phantom scan in the layout of TCIA's "CT Lymph Nodes": a DICOM series, and a mask that numbers the nodes."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lesion_app.data.nih_ln import MASKS
from lesion_app.data.phantom_collections.scan import PhantomScan

_INTERCEPT = -1024


def patient(index: int, region: str) -> str:
    """``ABD_LYMPH_001`` or ``MED_LYMPH_001``."""
    return f"{region}_LYMPH_{index + 1:03d}"


def series_id(index: int, region: str) -> str:
    """What `read_nih_ln` calls the scan."""
    return patient(index, region).replace("_", "-")


def write_scan(scan: PhantomScan, folder: Path, index: int, region: str) -> None:
    """Write ``CT Lymph Nodes/<patient>/<study>/<series>/*.dcm`` and ``MED_ABD_LYMPH_MASKS/<patient>/..._mask.nii.gz``.

    Files are numbered from the head; the mask counts along L, P, S and has the origin 0, as TCIA's have.
    """
    name = patient(index, region)
    what = "abdominallymphnodes" if region == "ABD" else "mediastinallymphnodes"
    series = folder / "CT Lymph Nodes" / name / f"09-14-2014-{name.replace('_', '')}-{what}" / f"{what}-00000"
    series.mkdir(parents=True)
    voxels, spacing = scan.voxels(), scan.phantom.spacing_mm
    study_uid, series_uid, frame_uid = (
        generate_uid(entropy_srcs=[name, part]) for part in ("study", "series", "frame")
    )
    for z, plane in enumerate(voxels):
        dicom = Dataset()
        dicom.file_meta = FileMetaDataset()
        dicom.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dicom.SOPClassUID = dicom.file_meta.MediaStorageSOPClassUID = CTImageStorage
        uid = generate_uid(entropy_srcs=[name, "slice", str(z)])
        dicom.SOPInstanceUID = dicom.file_meta.MediaStorageSOPInstanceUID = uid
        dicom.StudyInstanceUID, dicom.SeriesInstanceUID, dicom.FrameOfReferenceUID = study_uid, series_uid, frame_uid
        dicom.Modality, dicom.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        dicom.PatientID = dicom.PatientName = name
        dicom.InstanceNumber = len(voxels) - z
        x, y, foot = scan.first_corner_mm
        dicom.ImagePositionPatient = [f"{v:.6f}" for v in (x, y, foot + z * spacing[2])]
        dicom.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dicom.PixelSpacing = [f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"]
        dicom.SliceThickness = f"{spacing[2]:.6f}"
        dicom.Rows, dicom.Columns = plane.shape
        dicom.SamplesPerPixel, dicom.PhotometricInterpretation = 1, "MONOCHROME2"
        dicom.BitsAllocated, dicom.BitsStored, dicom.HighBit, dicom.PixelRepresentation = 16, 16, 15, 1
        dicom.RescaleSlope, dicom.RescaleIntercept, dicom.RescaleType = 1, _INTERCEPT, "HU"
        dicom.PixelData = (plane - np.int16(_INTERCEPT)).astype("<i2").tobytes()
        dicom.save_as(series / f"{len(voxels) - 1 - z:06d}.dcm", enforce_file_format=True)
    masks = folder / MASKS / name
    masks.mkdir(parents=True)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    nibabel.save(nibabel.Nifti1Image(scan.node_mask().transpose(2, 1, 0), affine), masks / f"{name}_mask.nii.gz")
