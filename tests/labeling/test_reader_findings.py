"""A reader's label on its way into a PACS and back."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lesion_app.errors import InputError
from lesion_app.labeling.reader_findings import REPORT_DESCRIPTION, reader_findings, rois_of_report
from lesion_app.labeling.roi_markups import LesionRoi
from transforms.ct_reader import open_ct

pytest.importorskip("highdicom")
AT = "2026-01-31T12:00:00Z"


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Ten 48 x 40 slices of 0.8 mm, 2.5 mm apart; the first pixel's centre lies at (-20, -30, 100)."""
    folder = tmp_path / "series"
    folder.mkdir()
    study, uid, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(10):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, uid, frame
        data.Modality, data.PatientID, data.PatientName = "CT", "R1", "Phantom^Reader"
        data.StudyDate, data.StudyTime, data.SeriesNumber, data.InstanceNumber = "20260101", "120000", 1, k + 1
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.ImagePositionPatient = [-20.0, -30.0, 100 + 2.5 * k]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [0.8, 0.8], 2.5
        data.Rows, data.Columns = 40, 48
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.PixelData = np.full((40, 48), 1064, np.uint16).tobytes()
        data.save_as(folder / f"{k}.dcm", enforce_file_format=True)
    return folder


def label(series: Path) -> list[LesionRoi]:
    boxes = open_ct(series).geometry.boxes_to_lps([[5.3, 6.7, 2, 15.2, 14.1, 5], [30, 20, 7, 33.5, 24, 8]])
    return [LesionRoi(tuple(boxes[0].tolist()), "liver"), LesionRoi(tuple(boxes[1].tolist()), "lesion")]  # type: ignore[arg-type]


def findings(series: Path, rois: list[LesionRoi], **options: object) -> list[Dataset]:
    options = {"by": "Dr A", "at": AT, **options}
    return reader_findings(open_ct(series), sorted(series.iterdir()), rois, **options)  # type: ignore[arg-type]


def test_boxes_come_back_to_half_a_voxel(series: Path, tmp_path: Path) -> None:
    rois = label(series)
    (report,) = findings(series, rois)
    report.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    back = rois_of_report(pydicom.dcmread(tmp_path / "sr.dcm"))
    assert [one.type_name for one in back] == ["liver", "lesion"]
    for one, drawn in zip(back, rois):
        assert np.abs(np.subtract(one.box, drawn.box)).max() <= 0.01


def test_report_is_the_readers_and_tells_neither_score_nor_algorithm(series: Path) -> None:
    (report,) = findings(series, label(series))
    assert report.SeriesDescription == REPORT_DESCRIPTION
    assert report.PatientID == "R1"
    text = str(report)
    assert "Dr A" in text
    assert "Detection score" not in text
    assert "Algorithm" not in text


def test_each_save_is_a_series_of_its_own(series: Path) -> None:
    rois = label(series)
    uids = {str(findings(series, some, by=by)[0].SeriesInstanceUID) for some in (rois, rois[:1]) for by in ("A", "B")}
    assert len(uids) == 4
    assert findings(series, rois)[0].SOPInstanceUID == findings(series, rois)[0].SOPInstanceUID


def test_empty_label_says_that_there_is_nothing(series: Path) -> None:
    (report,) = findings(series, [])
    assert rois_of_report(report) == []
    assert "No lesion found" in str(report)


def test_mask_becomes_a_segmentation_of_the_readers(series: Path) -> None:
    masks = np.zeros(open_ct(series).shape, np.int64)
    masks[2:5, 7:14, 5:15] = 1
    masks[7, 20:24, 30:33] = 2
    report, segments = findings(series, label(series), masks=masks)
    assert report.Modality == "SR"
    assert segments.Modality == "SEG"
    assert [one.SegmentLabel for one in segments.SegmentSequence] == ["liver 1", "lesion 2"]
    assert segments.SeriesInstanceUID != report.SeriesInstanceUID
    assert segments.pixel_array.sum() == (masks > 0).sum()


def test_box_outside_and_other_objects_are_refused(series: Path) -> None:
    with pytest.raises(InputError, match="outside its CT"):
        findings(series, [LesionRoi((900, 0, 0, 910, 9, 9))])
    with pytest.raises(InputError, match="no structured report"):
        rois_of_report(pydicom.dcmread(next(series.iterdir())))
