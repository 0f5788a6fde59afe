"""NIH lymph nodes in their published format become slices and records, quirks and all."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lesion_app.data.datalist import load_records
from lesion_app.data.prepare_volumes import prepare_volumes
from lesion_app.errors import InputError
from tests.data.marked_volume import SHAPE, SPACING, marked_volume
from tests.data.prepared_slices import only


def write_dicom(folder: Path, volume: np.ndarray) -> None:
    """A CT series of [z, y, x] on the network grid; file names do not follow the order of the slices."""
    folder.mkdir(parents=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for z, plane in enumerate(volume):
        ds = pydicom.Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.ImagePositionPatient = [-100.0, -50.0, 30.0 + z * SPACING[2]]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        ds.Rows, ds.Columns = plane.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
        ds.PixelData = (plane + 1024).astype("<i2").tobytes()
        ds.save_as(folder / f"{len(volume) - z:06d}.dcm", enforce_file_format=True)


class TestNIHLymphNodes:
    def source(self, folder: Path, patient: str = "ABD_LYMPH_003") -> Path:
        study = f"09-14-2014-{patient}-abdominallymphnodes-39052/abdominallymphnodes-65663"
        write_dicom(folder / "CT Lymph Nodes" / patient / study, marked_volume((10, 4, 3, 600)))
        mask = np.zeros(SHAPE, dtype=np.uint8)
        mask[9:11, 4, 2:5] = 7
        mask[9:11, 5, 2:5] = 2  # touches node 7 and is another node
        masks = folder / "MED_ABD_LYMPH_MASKS" / patient
        masks.mkdir(parents=True)
        # TCIA's masks count along L, P, S; their origin is not the series' one
        image = nibabel.Nifti1Image(mask.transpose(2, 1, 0), np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0]))
        nibabel.save(image, masks / f"{patient}_mask.nii.gz")
        notes = folder / "MED_ABD_LYMPH_ANNOTATIONS" / patient
        notes.mkdir(parents=True)
        (notes / f"{patient}_lymphnodes_indices.txt").write_text("3 4 10\n")
        return folder

    def test_touching_nodes_stay_two_and_the_region_gives_the_type(self, tmp_path):
        source = self.source(self.source(tmp_path / "nih"), "MED_LYMPH_012")
        prepare_volumes("nih-ln", source, tmp_path / "out", validation_share=0)
        abdomen, mediastinum = load_records(tmp_path / "out" / "datalist.json", "training", tmp_path / "out")
        assert (abdomen["id"], mediastinum["id"]) == ("ABD-LYMPH-003_001-012", "MED-LYMPH-012_001-012")
        assert {a["lesion_type"] for a in abdomen["annotations"]} == {2}
        assert {a["lesion_type"] for a in mediastinum["annotations"]} == {3}
        assert [(a["lesion"], a["slice"], a["box"]) for a in abdomen["annotations"]] == [
            (0, 2, [2.0, 5.0, 5.0, 6.0]),
            (0, 3, [2.0, 5.0, 5.0, 6.0]),
            (1, 2, [2.0, 4.0, 5.0, 5.0]),
            (1, 3, [2.0, 4.0, 5.0, 5.0]),
        ]
        plane = np.asarray(Image.open(Path(abdomen["image"]) / "002.png")).astype(int) - 32768
        assert plane[4, 3] == 600

    def test_patient_without_mask_is_told_or_left_out(self, tmp_path):
        source = self.source(self.source(tmp_path / "nih"), "MED_LYMPH_012")
        (source / "MED_ABD_LYMPH_MASKS" / "MED_LYMPH_012" / "MED_LYMPH_012_mask.nii.gz").unlink()
        with pytest.raises(InputError, match="MED_LYMPH_012"):
            prepare_volumes("nih-ln", source, tmp_path / "out")
        prepare_volumes("nih-ln", source, tmp_path / "out", allow_missing=True, validation_share=0)
        assert only(tmp_path / "out")["patient_id"] == "ABD-LYMPH-003"
