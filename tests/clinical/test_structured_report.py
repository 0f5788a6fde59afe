"""The report of one CT, read back by plain pydicom and highdicom: lesions at their place, with what is told of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

pytest.importorskip("highdicom", reason="highdicom is not installed (lesion-app[deploy])")

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.clinical.findings import write_findings
from lesion_app.inferers.lesions_json import lesions_document
from tests.clinical.dicom_programs import validate
from tests.clinical.finding_cases import ALL_FORMS, CASES, PLANTED
from tests.clinical.report_items import groups, name_of, numbers, only, walk


@pytest.mark.parametrize("case", CASES)
def test_planted_lesions_come_back_through_the_report(
    case: str, make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series(**CASES[case])
    document = make_document(series, PLANTED)

    [file] = write_findings(document, series.files[::-1], tmp_path / "out", forms=["sr"])

    report = pydicom.dcmread(file)
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    found = groups(report)
    assert len(found) == len(PLANTED)
    for group, box in zip(found, PLANTED):
        faces = np.concatenate([np.array(item.GraphicData).reshape(-1, 3) for item in only(walk(group), "SCOORD3D")])
        corners = series.corners_lps(box)
        distances = np.linalg.norm(faces[:, None] - corners[None], axis=-1)
        assert distances.min(axis=0).max() < 0.01  # every planted corner is told ...
        assert distances.min(axis=1).max() < 0.01  # ... and no other
        [region] = only(walk(group), "SCOORD")
        points = np.array(region.GraphicData).reshape(-1, 2)
        np.testing.assert_allclose(
            np.r_[points.min(axis=0), points.max(axis=0)], np.array(box)[[0, 1, 3, 4]], atol=2e-3
        )
        image = region.ContentSequence[0].ReferencedSOPSequence[0]
        if "enhanced" in case:
            assert box[2] < image.ReferencedFrameNumber <= box[5]
            assert image.ReferencedSOPInstanceUID == pydicom.dcmread(series.files[0]).SOPInstanceUID
        else:
            uids = [pydicom.dcmread(series.files[k]).SOPInstanceUID for k in range(box[2], box[5])]
            assert image.ReferencedSOPInstanceUID in uids


def test_a_group_tells_size_score_model_and_tracking(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    hd = pytest.importorskip("highdicom")
    series = make_ct_series(pixel=(1.3, 0.7), step=3.0)
    files = write_findings(
        make_document(series, [(5, 7, 2, 17, 12, 5)]), series.files, tmp_path / "out", forms=["sr", "seg", "gsps"]
    )
    [group] = hd.sr.srread(files[0]).content.get_planar_roi_measurement_groups()
    assert numbers(group[0]) == pytest.approx({"score": 0.9, "key-long": 12 * 0.7, "key-short": 5 * 1.3, "height": 9.0})
    texts = [item.TextValue for item in only(walk(group[0]), "TEXT")]
    assert "lesion-app FasterRCNN25D" in texts
    assert f"weights SHA-256: {'ab' * 32}" in texts
    [name] = [i.ConceptNameCodeSequence[0].CodeMeaning for i in only(walk(group[0]), "NUM") if name_of(i) == "key-long"]
    assert "box" in name
    segment = pydicom.dcmread(files[1]).SegmentSequence[0]
    drawn = pydicom.dcmread(files[2]).GraphicAnnotationSequence[0].GraphicObjectSequence[0]
    assert group.tracking_uid == segment.TrackingUID == drawn.TrackingUID


def test_a_ct_without_lesions_gives_a_report_that_says_so(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series()
    [file] = write_findings(make_document(series, []), series.files, tmp_path / "out", forms=ALL_FORMS)
    [group] = groups(pydicom.dcmread(file))
    assert numbers(group) == {"count": 0, "threshold": 0.05}
    result = {name_of(item): item.ConceptCodeSequence[0].CodeValue for item in only(walk(group), "CODE")}
    assert result["result"] == "2667000"  # SNOMED CT: absent
    evidence = pydicom.dcmread(file).CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert len(evidence.ReferencedSOPSequence) == len(series.files)


def test_the_tumour_of_a_real_ct_stays_where_radiologists_drew_it(real_data: Path, tmp_path: Path) -> None:
    from transforms.ct_reader import open_ct

    folder = real_data / "ct" / "lungdx_A0002_dicom" / "series_B40f"
    told = json.loads((real_data / "ct" / "lesions.json").read_text())["datasets"]["lungdx_A0002_dicom/series_B40f"]
    ct = open_ct(folder)
    by_uid = {str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID): file for file in folder.iterdir()}
    heights = {round(float(one["z"]), 2): one for one in told["per_slice"]}
    slices = {}
    for z in range(ct.shape[0]):
        drawn = heights.get(round(float((ct.geometry.affine_lps @ (0, 0, z, 1))[2]), 2))
        if drawn:  # with inclusive edges; this CT's rows and columns are those of the axial grid
            slices[z] = tuple(np.add(drawn["box"], (0.0, 0.0, 1.0, 1.0)).tolist())
    lesion = Tracklet(tuple(slices), tuple(slices.values()), (0.5,) * len(slices))
    document = lesions_document(
        [lesion],
        ct.geometry,
        model={"network": "FasterRCNN25D", "file": "model.pt", "sha256": "ab" * 32},
        config={"files": []},
        source={"kind": "dicom", "series_uid": ct.series_uid},
        score_threshold=0.3,
    )
    files = write_findings(document, list(by_uid.values()), tmp_path / "out", forms=ALL_FORMS)
    [group] = groups(pydicom.dcmread(files[0]))
    points = np.concatenate([np.array(item.GraphicData).reshape(-1, 3) for item in only(walk(group), "SCOORD3D")])
    np.testing.assert_allclose(
        np.r_[points.min(axis=0), points.max(axis=0)], told["lesions"][0]["box_lps_mm"], atol=0.33
    )
    [region] = only(walk(group), "SCOORD")
    image = region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    [expected] = [one["box"] for one in told["per_slice"] if one["sop"] == image]
    assert np.array(region.GraphicData).reshape(-1, 2)[[0, 2]].ravel().tolist() == pytest.approx(
        np.add(expected, (0, 0, 1, 1)).tolist()
    )
    for file in files:
        validate(file)
