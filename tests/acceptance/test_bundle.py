"""What MONAI and its model zoo ask of a bundle, and its whole life from the command line on a tiny data set."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import nibabel as nib
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from monai.bundle import ConfigParser, ConfigWorkflow
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lesion_app import __version__

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLE = REPOSITORY / "bundle"
CONFIGS = BUNDLE / "configs"


@pytest.fixture(scope="module")
def cts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cts")
    x, y, _ = np.mgrid[:96, :96, :10]
    body = np.where(((x - 48) / 40) ** 2 + ((y - 48) / 32) ** 2 < 1, 40, -1000).astype(np.int16)
    nib.save(nib.Nifti1Image(body, np.diag([-3.0, -3.0, 5.0, 1.0])), folder / "ct.nii.gz")
    return folder


def merged(*names: str) -> dict[str, Any]:
    return copy.deepcopy(ConfigParser.load_config_files([str(CONFIGS / f"{name}.json") for name in names]))


def metadata() -> dict[str, Any]:
    return json.loads((CONFIGS / "metadata.json").read_text())


def test_metadata_is_valid(real_data: Path) -> None:
    schema = json.loads((real_data / "schema" / "meta_schema_20240725.json").read_text())
    jsonschema.validate(metadata(), schema)
    assert metadata()["schema"].endswith("/meta_schema_20240725.json")


def test_versions_in_metadata_are_the_ones_tested() -> None:
    lines = re.findall(r"^([\w.-]+)==(\S+)", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)
    tested = {name.lower().replace("_", "-"): version for name, version in lines}
    content = metadata()
    stated = {
        "monai": content["monai_version"],
        "torch": content["pytorch_version"],
        "numpy": content["numpy_version"],
        **content["required_packages_version"],
    }
    assert stated == {name: tested[name.lower()] for name in stated}
    dependencies = (REPOSITORY / "pyproject.toml").read_text().split("\ndependencies = [")[1].split("]")[0]
    assert set(stated) == set(re.findall(r'^ *"([\w-]+)', dependencies, re.MULTILINE))


def test_version_is_the_packages_and_has_its_change_log() -> None:
    assert metadata()["version"] == __version__
    assert __version__ in metadata()["changelog"]
    assert f"## {__version__}" in (REPOSITORY / "CHANGELOG.md").read_text()


def test_licences_and_card_are_there() -> None:
    assert "Apache License" in (BUNDLE / "LICENSE").read_text()
    assert "DeepLesion" in (BUNDLE / "docs" / "data_license.txt").read_text()
    card = (BUNDLE / "docs" / "README.md").read_text()
    for section in ("Data", "Training configuration", "Input", "Output", "Performance", "Commands", "License"):
        assert re.search(rf"^##+ .*{section}", card, re.MULTILINE), section


def test_card_names_only_configs_and_keys_that_exist() -> None:
    card = (BUNDLE / "docs" / "README.md").read_text()
    for name in re.findall(r"configs/([\w.]+)", card):
        assert (CONFIGS / name).is_file(), name
    known = {*merged("train", "evaluate", "multi_gpu_train"), *merged("train", "mine"), *merged("inference")}
    options = {"config_file", "tracking", "standalone", "nproc_per_node", "weights", "config", "train-config", "zip"}
    options |= {"meta_file", "filepath", "backend-store-uri", "logdir", "complete-test"}
    for option in re.findall(r" --([a-z][\w-]+)", card):
        assert option in known | options, option


@pytest.mark.parametrize(
    ("train", "inference"), [(["train"], ["inference"]), (["train", "demo"], ["inference", "demo_inference"])]
)
def test_training_and_inference_describe_one_network(train: list[str], inference: list[str]) -> None:
    trained, used = merged(*train), merged(*inference)
    for config in (trained, used):
        del config["network_def"]["backbone"]["pretrained"]  # where training starts from
    assert used["network_def"].pop("initialised") is False  # weights follow
    shared = ["network_def", "num_slices", "slice_interval_mm", "pixel_spacing_mm", "max_size_px", "body_hu", "linker"]
    assert {k: trained[k] for k in shared} == {k: used[k] for k in shared}


@pytest.mark.parametrize(
    "configs",
    [["train"], ["train", "demo"], ["train", "demo", "evaluate"], ["inference"], ["inference", "demo_inference"]],
    ids="+".join,
)
def test_check_properties_is_clean(configs: list[str], tiny_phantom: Path, cts: Path, tmp_path: Path) -> None:
    network = ConfigParser(merged(*configs))
    network["network_def#backbone#pretrained"] = False
    torch.save(network.get_parsed_content("network_def").state_dict(), tmp_path / "model.pt")
    values: dict[str, Any] = {"dataset_dir": str(cts)}
    if configs[0] == "train":
        values = {"dataset_dir": str(tiny_phantom), "pretrained": False, "num_workers": 0}
    workflow = ConfigWorkflow(
        config_file=[str(CONFIGS / f"{name}.json") for name in configs],
        workflow_type=configs[0],
        logging_file=False,  # it would change logging for the tests after this one
        bundle_root=str(BUNDLE),
        ckpt_dir=str(tmp_path),
        output_dir=str(tmp_path / "out"),
        **values,
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def run_cli(run_id: str, configs: list[str], values: dict[str, Any], folder: Path) -> subprocess.Popen[str]:
    """Start ``python -m monai.bundle run`` in ``folder``, with MONAI's own tracking beside the bundle's."""
    files = [str(CONFIGS / f"{name}.json") for name in configs]
    command = [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", str(files), "--tracking", "mlflow"]
    for key, value in {"bundle_root": str(BUNDLE), **values}.items():
        command += [f"--{key}", str(value)]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    try:
        output, _ = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == code, output[-3000:]
    return output


@pytest.fixture(scope="module")
def life(
    tmp_path_factory: pytest.TempPathFactory, tiny_phantom: Path, tiny_training: dict[str, Any], cts: Path
) -> Path:
    """Training, then evaluation, inference and a failing inference, all started in an empty folder."""
    folder = tmp_path_factory.mktemp("life")
    start = folder / "cwd"
    start.mkdir()

    def values(name: str) -> dict[str, Any]:
        return {"ckpt_dir": str(folder / "models"), "output_dir": str(folder / name)}

    finish(
        run_cli("training", ["train", "demo"], {**values("train"), "dataset_dir": tiny_phantom, **tiny_training}, start)
    )
    broken = folder / "broken_cts"
    broken.mkdir()
    (broken / "broken.nii.gz").write_bytes(b"no CT")
    evaluation = {**values("evaluate"), "dataset_dir": tiny_phantom, "evaluate_student": True}
    others = [
        (run_cli("evaluating", ["train", "demo", "evaluate"], evaluation, start), 0),
        (run_cli("inference", ["inference", "demo_inference"], {**values("infer"), "dataset_dir": cts}, start), 0),
        (run_cli("inference", ["inference", "demo_inference"], {**values("fail"), "dataset_dir": broken}, start), 2),
    ]
    for process, code in others:
        finish(process, code)
    assert list(start.iterdir()) == []  # nothing goes where it was not told to
    return folder


def only_run(folder: Path) -> tuple[MlflowClient, Run]:
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlruns.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert len(runs) == 1, [(run.info.run_name, run.info.status) for run in runs]
    return client, runs[0]


@pytest.mark.slow
@pytest.mark.timeout(400)
class TestLife:
    def test_training_leaves_bare_state_dicts(self, life: Path) -> None:
        network = ConfigParser(merged("inference", "demo_inference")).get_parsed_content("network_def")
        for name in ("model.pt", "student.pt"):
            network.load_state_dict(torch.load(life / "models" / name, weights_only=True))

    def test_training_is_one_finished_run_with_every_iteration(self, life: Path) -> None:
        client, run = only_run(life / "train")
        assert run.info.status == "FINISHED"
        assert run.data.params["score_threshold"] == "0.02"
        for name in ("loss", "loss_objectness", "mined_boxes", "ground_truth_boxes", "hidden_lesions"):
            steps = {point.step for point in client.get_metric_history(run.info.run_id, name)}
            assert steps == {1, 2, 3, 4}, name
        for name in ("teacher_p3d_ap", "student_p3d_ap", "epoch_mined_boxes"):
            points = {(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)}
            assert {step for step, _ in points} == {1, 2}
            assert len(points) == 2, f"{name} was logged with values of another epoch: {points}"

    def test_training_is_in_tensorboard(self, life: Path) -> None:
        scalars: dict[str, int] = {}
        others: set[str] = set()
        for file in (life / "train").glob("events.out.tfevents.*"):
            events = EventAccumulator(str(file)).Reload()
            scalars |= {tag: len(events.Scalars(tag)) for tag in events.Tags()["scalars"]}
            others |= {*events.Tags()["histograms"], *events.Tags()["images"]}
        assert {scalars[name] for name in ("loss", "loss_objectness", "mined_boxes", "ground_truth_boxes")} == {4}
        assert scalars["teacher_p3d_ap"] == 2
        assert {"teacher_scores", "mined_lesions"} <= others

    def test_evaluation_is_one_finished_run_of_both_models(self, life: Path) -> None:
        _, run = only_run(life / "evaluate")
        assert run.info.status == "FINISHED"
        assert {"teacher_p3d_ap", "student_p3d_ap", "teacher_average_sensitivity"} <= set(run.data.metrics)
        found = json.loads((life / "evaluate" / "evaluation.json").read_text())["models"]
        for name in ("teacher", "student"):
            assert found[name]["p3d_ap"] == pytest.approx(run.data.metrics[f"{name}_p3d_ap"])

    def test_inference_is_a_finished_run_that_counts(self, life: Path) -> None:
        _, run = only_run(life / "infer")
        lesions = json.loads((life / "infer" / "ct" / "lesions.json").read_text())["lesions"]
        assert run.info.status == "FINISHED"
        assert run.data.metrics == {"cts": 1.0, "lesions": float(len(lesions))}

    def test_failed_inference_is_a_failed_run_without_results(self, life: Path) -> None:
        _, run = only_run(life / "fail")
        assert run.info.status == "FAILED"
        assert [p.name for p in (life / "fail").iterdir() if p.is_dir()] == []
