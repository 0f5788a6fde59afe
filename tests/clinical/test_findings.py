"""Everything that is written about one CT, read back by plain pydicom and by other people's programs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

pytest.importorskip("highdicom", reason="highdicom is not installed (lesion-app[deploy])")

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.clinical.findings import write_findings
from lesion_app.errors import InputError
from lesion_app.inferers.lesions_json import lesions_document

ALL_FORMS = ("sr", "seg", "key_images", "gsps")
OBLIQUE = (0.9396926, 0.0, -0.3420201, 0.1169778, 0.9396926, 0.3213938)
CASES = {
    "ascending": {},
    "descending": {"step": -2.5},
    "feet first": {"orientation": (-1, 0, 0, 0, 1, 0), "step": 1.5},
    "prone": {"orientation": (-1, 0, 0, 0, -1, 0)},
    "turned in plane": {"orientation": (0, 1, 0, -1, 0, 0), "pixel": (0.6, 1.1)},
    "oblique": {"orientation": OBLIQUE, "step": 2.0},
    "oblique descending": {"orientation": OBLIQUE, "step": -2.0},
    "enhanced": {"multi_frame": True},
    "enhanced descending": {"multi_frame": True, "step": -2.0},
}
PLANTED = [(5, 7, 2, 17, 12, 5), (20.25, 3.5, 7, 33.75, 21.0, 8), (0, 0, 0, 9, 9, 2)]


def groups(report: Dataset) -> list[Dataset]:
    """Measurement groups of a report."""
    return [item for item in walk(report) if name_of(item) == "125007"]


def walk(item: Dataset) -> list[Dataset]:
    children = list(item.get("ContentSequence", []))
    return children + [one for child in children for one in walk(child)]


def name_of(item: Dataset) -> str:
    return item.ConceptNameCodeSequence[0].CodeValue if item.get("ConceptNameCodeSequence") else ""


def only(items: list[Dataset], kind: str) -> list[Dataset]:
    return [item for item in items if item.ValueType == kind]


def numbers(group: Dataset) -> dict[str, float]:
    return {name_of(item): float(item.MeasuredValueSequence[0].NumericValue) for item in only(walk(group), "NUM")}


def validate(file: Path) -> None:
    """dciodvfy, told to check by the newest edition, finds no error."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    told = subprocess.run([program, "-new", str(file)], capture_output=True, text=True)
    assert [line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")] == []


def tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


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


@pytest.mark.parametrize("case", ["ascending", "turned in plane", "enhanced"])
@pytest.mark.parametrize("head", [{}, {"BodyPartExamined": None}, {"BodyPartExamined": "BREAST", "Laterality": "L"}])
def test_every_form_is_valid(
    case: str,
    head: dict[str, Any],
    make_ct_series: Callable[..., Any],
    make_document: Callable[..., Any],
    tmp_path: Path,
) -> None:
    series = make_ct_series(**CASES[case], **head)
    files = write_findings(make_document(series, PLANTED), series.files, tmp_path / "out", forms=ALL_FORMS)
    files += write_findings(make_document(series, []), series.files, tmp_path / "none")
    for file in files:
        validate(file)


def test_other_peoples_readers_take_the_reports(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    reader, dump = tool("tid1500reader"), tool("dsrdump")
    series = make_ct_series()
    for name, planted in (("some", PLANTED), ("none", [])):
        [file] = write_findings(make_document(series, planted), series.files, tmp_path / name, forms=["sr"])
        subprocess.run([dump, str(file)], check=True, capture_output=True)
        told = tmp_path / f"{name}.json"
        subprocess.run(
            [reader, "--inputDICOM", str(file), "--outputMetadata", str(told)], check=True, capture_output=True
        )
        measured = json.loads(told.read_text())["Measurements"]
        assert [group["TrackingIdentifier"] for group in measured] == (
            [f"Lesion {n}" for n in range(1, len(planted) + 1)] or ["No lesion found"]
        )
        assert all(group["measurementAlgorithmIdentification"]["AlgorithmVersion"] for group in measured)


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


def test_the_same_document_makes_the_same_bytes(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series()
    document = make_document(series, PLANTED)
    first = write_findings(document, series.files, tmp_path / "a", forms=ALL_FORMS)
    second = write_findings(document, series.files[::-1], tmp_path / "b", forms=ALL_FORMS)
    assert [file.name for file in first] == [file.name for file in second]
    for one, other in zip(first, second):
        assert one.read_bytes() == other.read_bytes()


def test_a_second_detection_changes_nothing_but_dates(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series()
    document = make_document(series, PLANTED)
    later = {**document, "created": "2031-05-06T07:08:09Z"}
    first = write_findings(document, series.files, tmp_path / "a", forms=ALL_FORMS)
    second = write_findings(later, series.files, tmp_path / "b", forms=ALL_FORMS)
    for one, other in zip(map(pydicom.dcmread, first), map(pydicom.dcmread, second)):
        assert one.SOPInstanceUID == other.SOPInstanceUID
        changed = [line for line, new in zip(str(one).splitlines(), str(other).splitlines()) if line != new]
        assert len(str(one).splitlines()) == len(str(other).splitlines())
        assert changed
        assert all(re.search(r"\b(DA|TM|DT): ", line) for line in changed)
        assert one.SeriesDate != other.SeriesDate


def test_another_model_makes_other_files_beside_the_first(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series()
    document = make_document(series, PLANTED)
    newer = {**document, "model": {**document["model"], "sha256": "ef" * 32}}
    uids = [
        {pydicom.dcmread(file).SOPInstanceUID for file in write_findings(one, series.files, tmp_path / name)}
        for name, one in (("a", document), ("b", newer))
    ]
    assert not uids[0] & uids[1]


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg".encode("latin-1")),
        ("ISO_IR 192", "Παπαδοπούλου^Μαρία=山田^太郎".encode()),
        (["", "ISO 2022 IR 87"], b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
        (["", "ISO 2022 IR 149"], b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"),
        ("GB18030", "王^小东".encode("gb18030")),
        ("ISO_IR 192", "Müller^Jörg".encode("latin-1")),  # wrongly declared: must not get worse
        (None, "Müller^Jörg".encode("cp1252")),  # not declared at all
    ],
)
def test_names_are_copied_byte_for_byte(
    charset: Any, name: bytes, make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series(PatientName="@" * len(name), SpecificCharacterSet=charset)
    for file in series.files:
        file.write_bytes(file.read_bytes().replace(b"@" * len(name), name))
    for file in write_findings(make_document(series, PLANTED), series.files, tmp_path / "out", forms=ALL_FORMS):
        written = pydicom.dcmread(file)
        assert written.get_item("PatientName").value.rstrip(b" ") == name
        assert written.get("SpecificCharacterSet") == charset


def test_what_the_scanner_left_out_or_wrote_amiss_stops_nothing(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    gone = ("PatientName", "PatientBirthDate", "StudyDate", "StudyID", "ReferringPhysicianName", "SeriesNumber")
    series = make_ct_series(**dict.fromkeys(gone), PatientSex="UNKNOWN", StudyTime="10:11:12", AccessionNumber=None)
    for file in write_findings(make_document(series, PLANTED), series.files, tmp_path / "out", forms=ALL_FORMS):
        written = pydicom.dcmread(file)
        assert all(not written[keyword].value for keyword in gone[:-1])
        assert written.PatientSex == "UNKNOWN"
        assert written.SeriesNumber


def test_many_lesions(make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path) -> None:
    series = make_ct_series()
    boxes = [(x, y, z, x + 3, y + 3, z + 1) for z in (0, 9) for y in range(0, 30, 6) for x in range(0, 38, 6)]
    files = write_findings(
        make_document(series, boxes, [0.5] * len(boxes)), series.files, tmp_path / "out", forms=["sr", "seg"]
    )
    assert len(groups(pydicom.dcmread(files[0]))) == len(boxes) == 70
    assert len(pydicom.dcmread(files[1]).SegmentSequence) == len(boxes)
    for file in files:
        validate(file)


def test_implicit_vr_sources_are_read_alike(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series(PatientName="M\u00fcller^J\u00f6rg", SpecificCharacterSet="ISO_IR 100")
    document = make_document(series, PLANTED)
    explicit = write_findings(document, series.files, tmp_path / "a", forms=ALL_FORMS)
    for file in series.files:
        dataset = pydicom.dcmread(file)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        dataset.save_as(file, implicit_vr=True)
    implicit = write_findings(document, series.files, tmp_path / "b", forms=ALL_FORMS)
    for one, other in zip(explicit, implicit):
        assert one.read_bytes() == other.read_bytes()


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


def test_all_files_or_none(
    make_ct_series: Callable[..., Any],
    make_document: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    series = make_ct_series()
    saved = Dataset.save_as

    def fail_on_third(self: Dataset, name: Any, *more: Any, **settings: Any) -> None:
        if Path(name).name.startswith("key_image"):
            raise OSError(28, "No space left on device")
        saved(self, name, *more, **settings)

    monkeypatch.setattr(Dataset, "save_as", fail_on_third)
    with pytest.raises(InputError, match="No space left"):
        write_findings(make_document(series, PLANTED), series.files, tmp_path / "results" / "out")
    assert os.listdir(tmp_path / "results") == []


def test_an_empty_folder_is_filled_and_a_full_one_refused(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series()
    document = make_document(series, PLANTED)
    (tmp_path / "out").mkdir()
    assert all(file.is_file() for file in write_findings(document, series.files, tmp_path / "out"))
    before = sorted(os.listdir(tmp_path / "out"))
    with pytest.raises(InputError, match="not empty"):
        write_findings(document, series.files, tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == before


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        ({"SeriesInstanceUID": "1.2.3"}, "another series"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "no CT image"),
        ({"FrameOfReferenceUID": None}, "no FrameOfReferenceUID"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient"),
    ],
)
def test_files_the_findings_cannot_refer_to_are_refused(
    head: dict[str, Any],
    sentence: str,
    make_ct_series: Callable[..., Any],
    make_document: Callable[..., Any],
    tmp_path: Path,
) -> None:
    series = make_ct_series(**head)
    with pytest.raises(InputError, match=sentence) as told:
        write_findings(make_document(series, PLANTED), series.files, tmp_path / "out")
    assert "Doe" not in str(told.value)
    assert not (tmp_path / "out").exists()


def test_missing_slices_and_unknown_forms_are_refused(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series()
    document = make_document(series, PLANTED)
    with pytest.raises(InputError, match="slices with lesions"):
        write_findings(document, series.files[:3], tmp_path / "out")
    with pytest.raises(InputError, match="no form 'pdf'"):
        write_findings(document, series.files, tmp_path / "out", forms=["pdf"])
    with pytest.raises(InputError, match="need a DICOM series"):
        write_findings({**document, "source": {"kind": "nifti", "name": "a"}}, series.files, tmp_path / "out")


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
