"""The MONAI Deploy application as a hospital starts it: exit codes, and results that are whole or absent."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from lesion_app.inferers.lesions_json import read_lesions_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

REPOSITORY = Path(__file__).resolve().parents[3]
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"  # PS3.4 table B.5-1
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def without_toolkit() -> list[str]:
    """A command prefix that hides CUDA toolkits under /usr/local; empty where there are none or root is missing."""
    toolkits = sorted({str(path.resolve()) for path in Path("/usr/local").glob("cuda*") if path.is_dir()})
    if not toolkits or os.geteuid() != 0 or shutil.which("unshare") is None:
        return []
    mounts = " && ".join(f"mount -t tmpfs none '{path}'" for path in toolkits)
    prefix = ["unshare", "-m", "sh", "-c", f'{mounts} && exec "$@"', "-"]
    return [] if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode else prefix


@pytest.fixture(scope="module")
def study(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CT series whose file names tell nothing, among a localizer, screen captures and a note."""
    folder = tmp_path_factory.mktemp("study")
    names = iter(sorted((hashlib.sha1(str(n).encode()).hexdigest() for n in range(1000)), reverse=True))
    for source in ("lungdx_A0002_dicom/series_B40f", "zoo/localizer_and_screens"):
        for file in sorted(path for path in (real_data / "ct" / source).rglob("*") if path.suffix == ".dcm"):
            (folder / next(names)).symlink_to(file)
    (folder / "note.txt").write_text("no DICOM")
    return folder


def check_results(out: Path, series_uid: str) -> dict[str, object]:
    """The manifest, after checking it against every file that lies there."""
    manifest = json.loads((out / "results.json").read_text())
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert there == {"results.json", *(entry["file"] for entry in manifest["files"])}
    for entry in manifest["files"]:
        assert hashlib.sha256((out / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
    assert manifest["series"]["uid"] == series_uid
    assert len(read_lesions_json(out / "lesions.json")["lesions"]) == manifest["number_of_lesions"]
    for file in (out / "dicom").iterdir():
        assert pydicom.dcmread(file).StudyInstanceUID
    assert pydicom.dcmread(out / "dicom" / "report.dcm").SOPClassUID == COMPREHENSIVE_3D_SR
    return manifest


@pytest.fixture(scope="module")
def series_uid(real_data: Path) -> str:
    file = next((real_data / "ct/lungdx_A0002_dicom/series_B40f").rglob("*.dcm"))
    return str(pydicom.dcmread(file, stop_before_pixels=True).SeriesInstanceUID)


def test_findings_of_a_study_are_published_without_cuda(
    deploy_python, without_toolkit, clean_environment, study, series_uid, tiny_models, tiny_overlay, tmp_path
) -> None:
    out = tmp_path / "out"
    command = [*without_toolkit, deploy_python, "-m", "lesion_app.clinical", "-i", study, "-o", out, "-m", tiny_models]
    command += ["--config", f"demo_inference,{tiny_overlay}", "--scheduler", "multi_thread"]
    ran = subprocess.run(command, cwd=REPOSITORY, env=clean_environment(), capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    manifest = check_results(out, series_uid)
    assert manifest["number_of_lesions"] > 0
    assert {entry["file"].split("_")[0] for entry in manifest["files"]} == {
        "dicom/key",
        "dicom/report.dcm",
        "dicom/segments",
        "lesions.json",
        "lesions.png",
    }
    told = str(manifest["series"]["rejected"])
    assert "LOCALIZER" in told.upper()
    assert os.listdir(tmp_path) == ["out"]


def test_package_folder_runs_by_variables_and_reports_no_finding(
    deploy_python, clean_environment, study, series_uid, tiny_models, tiny_overlay, tmp_path
) -> None:
    layout = tmp_path / "map"
    subprocess.run([sys.executable, REPOSITORY / "scripts" / "map_app.py", layout], check=True, capture_output=True)
    out = tmp_path / "work" / "output"
    out.mkdir(parents=True)
    environment = clean_environment(
        HOLOSCAN_INPUT_PATH=study,
        HOLOSCAN_OUTPUT_PATH=out,
        HOLOSCAN_MODEL_PATH=tiny_models,
        LESION_APP_CONFIG=f"demo_inference,{tiny_overlay}",
        LESION_APP_MIN_SCORE=1.0,
        LESION_APP_SCHEDULER="event_based",
    )
    ran = subprocess.run(
        [deploy_python, layout / "app"], cwd=out.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "no lesions" in ran.stdout
    manifest = check_results(out, series_uid)
    assert manifest["number_of_lesions"] == 0
    assert [path.name for path in (out / "dicom").iterdir()] == ["report.dcm"]


def test_study_without_ct_is_refused_in_one_sentence(
    deploy_python, clean_environment, real_data, tiny_models, tmp_path
) -> None:
    command = [
        deploy_python,
        "-m",
        "lesion_app.clinical",
        "-i",
        real_data / "ct/zoo/non_ct",
        "-o",
        tmp_path / "a" / "b",
    ]
    ran = subprocess.run(
        [*command, "-m", tiny_models],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1), ran.stderr
    assert ran.stderr.startswith("error: ")
    assert os.listdir(tmp_path) == []


def test_broken_step_ends_with_1_and_a_traceback(deploy_python, clean_environment, tiny_models, tmp_path) -> None:
    """Under every scheduler, by breaking the first operator's function."""
    program = """
import sys
from pathlib import Path
from lesion_app.clinical import application_command, report_study
application_command._prepare_process("ERROR")
from lesion_app.clinical import application, operators
def broken(study, out):
    raise RuntimeError("broken on purpose")
operators.select_series = broken
for scheduler in application.SCHEDULERS:
    try:
        application.LesionApplication(*map(Path, sys.argv[1:3]), report_study.ReportSettings(), scheduler).run()
    except RuntimeError as error:
        print(scheduler, error)
sys.exit(application_command.main(["-i", sys.argv[1], "-o", sys.argv[2], "-m", sys.argv[3]]))
"""
    (tmp_path / "study").mkdir()
    arguments = [tmp_path / "study", tmp_path / "out", tiny_models]
    ran = subprocess.run(
        [deploy_python, "-c", program, *arguments],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.splitlines() == [
        f"{name} broken on purpose" for name in ("greedy", "multi_thread", "event_based")
    ], ran.stderr
    assert ran.returncode == 1
    assert "Traceback" in ran.stderr
    assert "broken on purpose" in ran.stderr
    assert os.listdir(tmp_path) == ["study"]
