"""A study's report: the pieces in their order, the manifest, and nothing left behind by what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import typer
from typer.testing import CliRunner

import lesion_app.clinical.findings
import lesion_app.clinical.series
import lesion_app.inferers.detect
from lesion_app.clinical.report_command import report
from lesion_app.clinical.report_study import report_study
from lesion_app.clinical.series import RejectedSeries, SeriesChoice, choose_series
from lesion_app.errors import InputError
from lesion_app.inferers.lesion_masks import LESION_MASKS

pytest.importorskip("highdicom", reason="DICOM findings need highdicom (lesion-app[deploy])")

DOCUMENT = {
    "created": "2026-01-01T00:00:00Z",
    "model": {"file": "model.pt"},
    "config": {"files": []},
    "source": {"kind": "dicom", "series_uid": "1.2.3"},
    "score_threshold": 0.5,
    "lesions": [],
}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    (folder / "deep").mkdir(parents=True)
    for name in ("deep/second", "first"):
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.pt").touch()
    return tmp_path / "models"


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch, study: Path) -> SimpleNamespace:
    """Stand-ins for choosing, detecting and writing, which note what they were given."""
    seen = SimpleNamespace(read=[], options={}, files=(), forms=(), masks=None, outlines=None, document=dict(DOCUMENT))

    def choose(folder: Path) -> SeriesChoice:
        files = (folder / "first", folder / "deep" / "second")
        return SeriesChoice("1.2.3", files, "the only one", (RejectedSeries("series 1", "a localizer"),))

    def detect(ct: Path, out: Path, **options: Any) -> dict[str, Any]:
        seen.read = [(path.name, path.read_text()) for path in sorted(ct.iterdir())]
        seen.options = options
        (out / "lesions.json").write_text("{}")
        if seen.outlines is not None:
            nibabel.save(nibabel.Nifti1Image(seen.outlines.transpose(2, 1, 0), np.eye(4)), out / LESION_MASKS)
        return seen.document

    def write(document: dict[str, Any], files: Any, out: Path, *, forms: Any, masks: Any) -> None:
        seen.files, seen.forms, seen.masks = files, forms, masks
        out.mkdir()
        (out / "report.dcm").write_text("sr")

    monkeypatch.setattr(lesion_app.clinical.series, "choose_series", choose)
    monkeypatch.setattr(lesion_app.inferers.detect, "detect", detect)
    monkeypatch.setattr(lesion_app.clinical.findings, "write_findings", write)
    return seen


def test_detector_sees_exactly_the_chosen_files_and_findings_their_originals(pieces, study, model, tmp_path) -> None:
    done = report_study(study, tmp_path / "out", models=model, configs=["demo_inference"], min_score=0.25, forms=["sr"])
    assert pieces.read == [("00000_first", "first"), ("00001_second", "deep/second")]
    assert pieces.files == (study / "first", study / "deep" / "second")
    assert pieces.options["weights"] == model / "model.pt"
    assert (pieces.options["configs"], pieces.options["min_score"]) == (("demo_inference",), 0.25)
    assert pieces.forms == ("sr",)
    assert pieces.options["sheet"] is True
    report_study(study, tmp_path / "bare", models=model, sheet=False)
    assert pieces.options["sheet"] is False
    assert done.series.series_uid == "1.2.3"
    assert [path.relative_to(done.out).as_posix() for path in done.files] == [
        "results.json",
        "lesions.json",
        "dicom/report.dcm",
    ]


def test_outlines_of_a_detector_with_masks_reach_the_findings(pieces, study, model, tmp_path) -> None:
    report_study(study, tmp_path / "a", models=model)
    assert pieces.masks is None
    pieces.outlines = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    pieces.document["grid"] = {"size_xyz": [4, 3, 2]}
    report_study(study, tmp_path / "b", models=model)
    assert np.array_equal(pieces.masks, pieces.outlines)


def test_manifest_tells_what_was_chosen_and_why(pieces, study, model, tmp_path) -> None:
    report_study(study, tmp_path / "out", models=model)
    manifest = json.loads((tmp_path / "out" / "results.json").read_text())
    assert manifest["series"] == {
        "uid": "1.2.3",
        "number_of_files": 2,
        "chosen_because": "the only one",
        "rejected": [{"series": "series 1", "reason": "a localizer"}],
    }
    assert manifest["number_of_lesions"] == 0
    assert sorted(entry["file"] for entry in manifest["files"]) == ["dicom/report.dcm", "lesions.json"]


def test_second_run_gives_the_same_files(pieces, study, model, tmp_path) -> None:
    first = report_study(study, tmp_path / "out", models=model)
    before = {path: path.read_bytes() for path in first.files}
    second = report_study(study, tmp_path / "out", models=model)
    assert {path: path.read_bytes() for path in second.files} == before


def test_results_of_another_series_than_was_chosen_are_never_published(pieces, study, model, tmp_path) -> None:
    pieces.document["source"] = {"kind": "dicom", "series_uid": "9.9"}
    with pytest.raises(RuntimeError, match="not the one that was chosen"):
        report_study(study, tmp_path / "out", models=model)
    assert sorted(os.listdir(tmp_path)) == ["models", "study"]


Change = Callable[[Path], dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tmp: {"folder": tmp / "nothing"}, "is not a folder"),
        (lambda tmp: {"out": tmp / "study" / "out"}, "lies in the study's folder"),
        (lambda tmp: {"models": tmp / "nothing"}, "model folder .* does not exist"),
        (lambda tmp: {"forms": ["pdf"]}, "asked for as 'pdf'; expected some of sr, seg"),
        (lambda tmp: {"forms": []}, "asked for as nothing"),
        (lambda tmp: {"min_score": 1.5}, r"must lie in 0\.\.1, got 1\.5"),
        (lambda tmp: {"out": tmp / "models"}, "holds no earlier results of this program"),
    ],
)
def test_mistakes_are_told_before_anything_is_computed(
    pieces, study, model, tmp_path: Path, change: Change, told: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    arguments: dict[str, Any] = {"folder": study, "out": tmp_path / "out", "models": model, **change(tmp_path)}
    with pytest.raises(InputError, match=told):
        report_study(arguments.pop("folder"), arguments.pop("out"), **arguments)
    assert pieces.options == {}
    assert sorted(tmp_path.rglob("*")) == before


def test_study_that_is_refused_leaves_nothing(study, model, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="no DICOM file"):
        report_study(study, tmp_path / "new" / "out", models=model)
    assert sorted(tmp_path.rglob("*")) == before


def test_command_tells_series_and_findings(pieces, study, model, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(report)
    ran = CliRunner().invoke(app, [str(study), str(tmp_path / "out"), "--models", str(model), "--forms", "sr, seg"])
    assert ran.exit_code == 0, ran.output
    assert "series: the only one\nno lesions; wrote 3 files to" in ran.output
    assert pieces.forms == ("sr", "seg")


@pytest.mark.slow
def test_real_study_gives_dicom_findings_in_its_own_study(
    real_data: Path, unchanged_process: None, tmp_path: Path
) -> None:
    import torch
    from monai.bundle import ConfigParser

    from lesion_app.bundle_run import config_paths, find_bundle

    overlay = tmp_path / "coarse.json"
    coarse = {"pixel_spacing_mm": 3.0, "max_size_px": 160, "network_def#box_detections_per_image": 1}
    overlay.write_text(json.dumps(coarse))
    parser = ConfigParser()
    parser.read_config(config_paths(find_bundle(), ["inference", "demo_inference", overlay]))
    parser["network_def#initialised"] = True
    torch.manual_seed(0)
    torch.save(parser.get_parsed_content("network_def").state_dict(), tmp_path / "net.pt")
    folder = real_data / "ct" / "lungdx_A0002_dicom"
    done = report_study(
        folder, tmp_path / "out", models=tmp_path / "net.pt", configs=["demo_inference", overlay], min_score=0.0
    )
    source = pydicom.dcmread(choose_series(folder).files[0], stop_before_pixels=True)
    written = [pydicom.dcmread(path) for path in done.files if path.suffix == ".dcm"]
    assert done.document["lesions"]
    assert {"SR", "SEG"} <= {one.Modality for one in written}
    assert {one.StudyInstanceUID for one in written} == {source.StudyInstanceUID}
    assert len({one.SOPInstanceUID for one in written}) == len(written)
