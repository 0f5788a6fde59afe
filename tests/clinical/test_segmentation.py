"""The segmentation of one CT, read back by plain pydicom and by dcmqi: every lesion whole and at its place."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

pytest.importorskip("highdicom", reason="highdicom is not installed (lesion-app[deploy])")

from lesion_app.clinical.findings import write_findings
from tests.clinical.dicom_programs import tool
from tests.clinical.finding_cases import CASES, PLANTED


@pytest.mark.parametrize("case", CASES)
def test_planted_lesions_come_back_through_the_segmentation(
    case: str, make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series(**CASES[case])
    document = make_document(series, PLANTED)

    [file] = write_findings(document, series.files, tmp_path / "out", forms=["seg"])

    segments = pydicom.dcmread(file)
    shared = segments.SharedFunctionalGroupsSequence[0]
    row, column = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    pixel = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    voxel = np.array([pixel[1], pixel[0], float(shared.PixelMeasuresSequence[0].SpacingBetweenSlices)])
    axes = np.stack([row, column, np.cross(row, column)], axis=1)
    for number, box in enumerate(PLANTED, start=1):
        centres = []
        for frame, mask in zip(segments.PerFrameFunctionalGroupsSequence, segments.pixel_array):
            if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
                ys, xs = np.nonzero(mask)
                position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
                centres.append(position + xs[:, None] * pixel[1] * row + ys[:, None] * pixel[0] * column)
        along = np.concatenate(centres) @ axes / voxel
        planted = series.corners_lps(box) @ axes / voxel
        np.testing.assert_allclose(along.min(axis=0) - 0.5, planted.min(axis=0), atol=0.5)
        np.testing.assert_allclose(along.max(axis=0) + 0.5, planted.max(axis=0), atol=0.5)


@pytest.mark.parametrize("case", ["ascending", "oblique descending", "enhanced"])
def test_dcmqi_reads_the_segments_at_their_place(
    case: str, make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    reader = tool("segimage2itkimage")
    itk = pytest.importorskip("itk")
    series = make_ct_series(**CASES[case])
    [file] = write_findings(make_document(series, PLANTED), series.files, tmp_path / "out", forms=["seg"])
    (tmp_path / "read").mkdir()

    subprocess.run(
        [reader, "--inputDICOM", str(file), "--outputDirectory", str(tmp_path / "read")],
        check=True,
        capture_output=True,
    )

    for number, box in enumerate(PLANTED, start=1):
        image = itk.imread(str(tmp_path / "read" / f"{number}.nrrd"))
        zs, ys, xs = np.nonzero(itk.array_from_image(image))
        points = np.array([image.TransformIndexToPhysicalPoint([int(a) for a in p]) for p in zip(xs, ys, zs)])
        spacing = np.array(image.GetSpacing())
        axes = itk.array_from_matrix(image.GetDirection())
        along, planted = points @ axes / spacing, series.corners_lps(box) @ axes / spacing
        np.testing.assert_allclose(along.min(axis=0) - 0.5, planted.min(axis=0), atol=0.51)
        np.testing.assert_allclose(along.max(axis=0) + 0.5, planted.max(axis=0), atol=0.51)


def test_lesions_that_overlap_all_stay_whole(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series()
    boxes = [(5, 7, 2, 17, 12, 5), (10, 9, 3, 20, 20, 4), (25, 2, 2, 30, 6, 4)]
    files = write_findings(make_document(series, boxes), series.files, tmp_path / "out", forms=["seg"])
    voxels = {}
    for segments in map(pydicom.dcmread, files):
        for item in segments.SegmentSequence:
            mine = [
                int(mask.sum())
                for frame, mask in zip(
                    segments.PerFrameFunctionalGroupsSequence, segments.pixel_array.reshape(-1, 32, 40)
                )
                if (frame if "SegmentIdentificationSequence" in frame else segments.SharedFunctionalGroupsSequence[0])
                .SegmentIdentificationSequence[0]
                .ReferencedSegmentNumber
                == item.SegmentNumber
            ]
            voxels[item.TrackingID] = sum(mine)
    assert voxels == {"Lesion 1": 12 * 5 * 3, "Lesion 2": 10 * 11, "Lesion 3": 5 * 4 * 2}
    assert len(files) == 2


def test_masks_take_the_place_of_boxes(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series(step=-2.5)  # the axial grid runs against the files
    document = make_document(series, PLANTED[:1])
    masks = np.zeros((10, 32, 40), np.uint8)
    masks[6, 8, 9:12] = 1
    [file] = write_findings(document, series.files, tmp_path / "out", forms=["seg"], masks=masks)
    segments = pydicom.dcmread(file)
    assert np.atleast_3d(segments.pixel_array).sum() == 3
    assert np.argwhere(segments.pixel_array).tolist() == [[8, 9], [8, 10], [8, 11]]
    source = segments.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == pydicom.dcmread(series.files[3]).SOPInstanceUID
    with pytest.raises(ValueError, match="no voxel of lesion 1"):
        write_findings(document, series.files, tmp_path / "b", forms=["seg"], masks=masks * 0)
