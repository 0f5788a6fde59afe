"""False-positive reduction from its candidates to new scores, by the bundle's configs on a tiny data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from lesion_app.bundle_run import run_bundle
from lesion_app.data.datalist import load_records
from lesion_app.errors import InputError
from lesion_app.inferers.detect import detect
from lesion_app.inferers.lesions_json import read_lesions_json, sha256_of
from lesion_app.networks.checkpoint import save_atomically

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
TINY = {
    "fpr_network_def#width": 4,
    "fpr_network_def#head_channels": 8,
    "fpr_patch#size_px": 32,
    "fpr_patch#num_slices": 4,
}

EVALUATED = (("without", ()), ("with", ("false_positive_evaluate.json",)))


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of demo.json's network that finds a few boxes anywhere."""
    parser = ConfigParser()
    parser.read_config([str(BUNDLE / "configs" / name) for name in ("inference.json", "demo_inference.json")])
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def")
    predictor = network.roi_heads.box_predictor.cls_score
    torch.nn.init.normal_(predictor.weight, std=0.5)
    torch.nn.init.zeros_(predictor.bias)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    save_atomically(network.state_dict(), path)
    return path


def overlay(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "more.json"
    path.write_text(json.dumps(values))
    return path


def training(folder: Path, data: Path, detections: Path, **more: Any) -> None:
    values = {
        "ckpt_dir": str(folder),
        "output_dir": str(folder / "out"),
        "dataset_dir": str(data),
        "detections_dir": str(detections),
        "device": "cpu",
        "num_workers": 0,
        "fpr_pretrained": False,
        "fpr_epochs": 1,
        "fpr_epoch_length": 2,
        "fpr_batch_size": 3,
        # an untrained detector hits nothing: whatever touches a lesion teaches as one
        "fpr_theta": 0.01,
        "fpr_theta_fp": 0.01,
        **TINY,
        **more,
    }
    run_bundle(["false_positive_train.json"], values, bundle=BUNDLE)


def evaluation(folder: Path, data: Path, detector: Path, weights: Path, *more: str) -> dict[str, Any]:
    values: dict[str, Any] = {
        "dataset_dir": str(data),
        "output_dir": str(folder),
        "weights": str(detector),
        "device": "cpu",
        "split": "validation",
        "use_mlflow": False,
        "val_num_workers": 0,
    }
    if more:
        values |= {"fpr_weights": str(weights), **TINY}
    run_bundle(["train.json", "demo.json", "evaluate.json", *more], values, bundle=BUNDLE)
    return json.loads((folder / "evaluation.json").read_text())


def test_training_detection_and_evaluation_describe_one_classifier() -> None:
    train, detect_, evaluate = (
        json.loads((BUNDLE / "configs" / f"false_positive_{name}.json").read_text())
        for name in ("train", "reduction", "evaluate")
    )
    shared = [key for key in detect_ if key.startswith("fpr_") and key != "fpr_inferer"]
    assert {key: detect_[key] for key in shared} == {key: evaluate[key] for key in shared}
    for key in ("fpr_weights", "fpr_patch", "fpr_min_candidate_score"):
        assert train[key] == detect_[key]
    assert {**train["fpr_network_def"], "pretrained": False} == detect_["fpr_network_def"]
    assert {**detect_["fpr_inferer"], "inferer": "@validate#inferer"} == evaluate["fpr_inferer"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_candidates_train_the_reduction_and_the_overlay_averages_scores(
    phantom_data: Path, detector: Path, tmp_path: Path, unchanged_process: None
) -> None:
    found = tmp_path / "candidates"
    values = {"dataset_dir": str(phantom_data), "output_dir": str(found), "weights": str(detector), "device": "cpu"}
    run_bundle(
        ["inference.json", "demo_inference.json", "false_positive_candidates.json"],
        {**values, "progress": False, "min_score": 0.0},
        bundle=BUNDLE,
        workflow_type="infer",
    )
    records = load_records(phantom_data / "datalist.json", "training", phantom_data)
    assert sorted(p.name for p in found.iterdir() if p.is_dir()) == sorted(r["id"] for r in records)
    assert not list(found.rglob("lesions.png"))

    for name in ("a", "b"):
        training(tmp_path / name, phantom_data, found)
    first, second = (torch.load(tmp_path / n / "false_positive.pt", weights_only=True) for n in "ab")
    assert all(torch.equal(first[key], second[key]) for key in first)  # bit for bit

    record = records[0]
    ct = {"ct": record["image"], "spacing_mm": record["spacing_mm"], "slices": record["slices"], "weights": detector}
    options = {"bundle": BUNDLE, "device": "cpu", "min_score": 0.0, "sheet": False}
    plain = detect(out=tmp_path / "plain", configs=["demo_inference"], **ct, **options)
    weights = tmp_path / "a" / "false_positive.pt"
    overlays = ["demo_inference", "false_positive_reduction", overlay(tmp_path, {**TINY, "fpr_weights": str(weights)})]
    reduced = detect(out=tmp_path / "reduced", configs=overlays, **ct, **options)

    assert read_lesions_json(tmp_path / "reduced" / "lesions.json") == reduced
    before = {str(lesion["box_voxel"]): lesion["score"] for lesion in plain["lesions"]}
    after = {str(lesion["box_voxel"]): lesion["score"] for lesion in reduced["lesions"]}
    assert set(before) == set(after)
    assert len(before) > 0
    shares = [after[box] - before[box] / 2 for box in before if before[box] >= 0.01]
    assert len(shares) > 0
    assert all(0 < share < 0.5 for share in shares)  # half of a probability
    assert any(abs(after[box] - before[box]) > 1e-3 for box in before)
    assert list(after.values()) == sorted(after.values(), reverse=True)
    files = {file["file"]: file["sha256"] for file in reduced["config"]["files"]}
    assert files["false_positive.pt"] == sha256_of(weights)

    plain, reduced = (evaluation(tmp_path / name, phantom_data, detector, weights, *more) for name, more in EVALUATED)
    assert (plain.get("fpr_score_weight"), reduced["fpr_score_weight"]) == (None, 0.5)
    told = [one["models"]["teacher"] for one in (plain, reduced)]
    assert [one["lesions"] for one in told] == [told[0]["lesions"]] * 2
    assert told[0]["threshold_at_1_fp"] != told[1]["threshold_at_1_fp"]  # the scores are others

    overlays[-1] = overlay(tmp_path, {**TINY, "fpr_weights": str(tmp_path / "none.pt")})
    with pytest.raises(InputError, match=r"no checkpoint at .*none\.pt"):
        detect(out=tmp_path / "none", configs=overlays, **ct, **options)
    assert not (tmp_path / "none").exists()


def test_training_without_detections_is_told(phantom_data: Path, tmp_path: Path, unchanged_process: None) -> None:
    with pytest.raises(InputError, match=r"no lesions\.json was found in .*nowhere"):
        training(tmp_path, phantom_data, tmp_path / "nowhere")
    assert not (tmp_path / "false_positive.pt").exists()
