"""Offline mining from phantom collections to a retraining on what was mined, by the bundle's configs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from typer.testing import CliRunner

from lesion_app.bundle_run import run_bundle
from lesion_app.cli import app
from lesion_app.data.datalist import load_records, prepare_deeplesion
from lesion_app.data.key_slices import key_slice_items
from lesion_app.data.phantom_collections import write_collection
from lesion_app.data.prepare_volumes import prepare_volumes
from lesion_app.networks.checkpoint import save_atomically

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
SIZE: dict[str, Any] = {
    "size": 96,
    "thickness_mm": (40.0, 45.0),
    "z_spacings": (5.0,),
    "lesions_per_volume": (3, 4),
    "workers": 1,
}
TINY = {
    "datasets": ["deeplesion", "luna16"],
    "pixel_spacing_mm": 4.0,
    "network_def#backbone#growth_rate": 4,
    "network_def#backbone#block_config": [1, 1, 1],
    "network_def#backbone#num_init_features": 8,
    "network_def#backbone#out_channels": 16,
    "network_def#box_head_channels": 16,
    "network_def#box_score_threshold": 0.0,
    "network_def#box_detections_per_image": 20,
    "network_def#proposal_network#channels": 8,
    "network_def#proposal_network#pre_nms_train": 100,
    "network_def#proposal_network#pre_nms_test": 100,
    "network_def#proposal_network#post_nms_train": 30,
    "network_def#proposal_network#post_nms_test": 60,
    "network_def#proposals_test": 60,
}


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("collections")
    write_collection("deeplesion", folder / "deeplesion", 3, seed=4, split=(0.67, 0.33, 0.0), **SIZE)
    prepare_deeplesion(folder / "deeplesion", folder / "deeplesion")
    write_collection("luna16", folder / "raw", 3, seed=5, **SIZE)
    prepare_volumes("luna16", folder / "raw", folder / "luna16", padding_px=5.0)
    return {name: folder / name for name in ("deeplesion", "luna16")}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LENS of two experts and a lesion embedding that know nothing, but say something."""
    folder = tmp_path_factory.mktemp("models")
    names = ("inference.json", "lens_inference.json", "lens_mine.json")
    parser = ConfigParser(ConfigParser.load_config_files([str(BUNDLE / "configs" / name) for name in names]))
    parser.update({**TINY, "network_def#initialised": True})
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def")
    for predictor in network.roi_heads.box_predictor:
        torch.nn.init.normal_(predictor.cls_score.weight, std=0.5)
    save_atomically(network.state_dict(), folder / "model.pt")
    save_atomically(parser.get_parsed_content("embedding_def").state_dict(), folder / "embedding.pt")
    return folder


def mine(data: Path, out: Path, models: Path, overlay: Path, *options: object) -> str:
    arguments = ["mine", data, out, "--bundle", BUNDLE, "--config", "lens_inference", "--config", overlay]
    arguments += ["--weights", models / "model.pt", "--embedding", models / "embedding.pt", "--device", "cpu", *options]
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_was_mined_trains_the_next_model(
    collections: dict[str, Path], models: Path, tmp_path: Path, unchanged_process: None
) -> None:
    data = collections["deeplesion"]
    overlay = tmp_path / "tiny.json"
    overlay.write_text(json.dumps(TINY))
    # a network that knows nothing hits nothing well: whatever overlaps a label somewhat is that lesion
    loose = ("--theta", 0.1, "--false-share", 0.6, "--sigma", 0.0, "--min-score", 0.0)
    printed = mine(data, tmp_path / "first", models, overlay, *loose)
    assert "precision" in printed
    assert f"wrote {tmp_path / 'first' / 'datalist.json'}" in printed

    mined = tmp_path / "first" / "datalist.json"
    summary = json.loads((tmp_path / "first" / "mining.json").read_text())
    strategies = ("cross-slice", "intra-patient", "cross-dataset")
    records = load_records(mined, "training", data)
    assert summary["sub_volumes"] == len(records) == 4  # two patients, two visits each
    boxes = [a for record in records for a in record["annotations"] if "origin" in a]
    assert {a["origin"] for a in boxes} == {"cross-slice", "intra-patient", "cross-dataset:luna16"}
    assert summary["strategies"]["all"]["boxes"] == len(boxes)
    assert all(summary["strategies"][name]["boxes"] > 0 for name in strategies)
    assert all(0 <= summary["strategies"][name]["precision"] <= 1 for name in strategies)
    before = json.loads((data / "datalist.json").read_text())
    after = json.loads(mined.read_text())
    assert {key: after[key] for key in ("validation", "test")} == {key: before[key] for key in ("validation", "test")}
    assert sorted(p.name for p in mined.parent.iterdir()) == ["datalist.json", "mining.json"]

    # once more, and from what was mined: the same bytes
    mine(data, tmp_path / "second", models, overlay, *loose)
    assert (tmp_path / "second" / "datalist.json").read_bytes() == mined.read_bytes()
    mine(data, tmp_path / "third", models, overlay, *loose, "--datalist", mined)
    again = [a for r in load_records(tmp_path / "third" / "datalist.json", "training", data) for a in r["annotations"]]
    assert [a for a in again if "origin" in a] == boxes

    values = {
        **{key: value for key, value in TINY.items() if key != "datasets"},
        "datasets": TINY["datasets"],
        "dataset_dir": str(data),
        "collections#deeplesion#datalist": str(mined),
        "collections#deeplesion#join": "all",
        "collections#luna16#root": str(collections["luna16"]),
        "ckpt_dir": str(tmp_path / "models"),
        "output_dir": str(tmp_path / "training"),
        "device": "cpu",
        "use_mlflow": False,
        "epochs": 1,
        "epoch_length": 3,
        "lr_milestones": [1],
        "batch_size": 2,
        "num_workers": 0,
        "val_num_workers": 0,
        "pretrained": False,
        "picture_every": 1000,
    }
    parser = run_bundle(["train.json", "lens_train.json"], values, bundle=BUNDLE)
    items = [item for item in parser.get_parsed_content("train#dataset").data if item["dataset"] == 0]
    plain = key_slice_items(load_records(data / "datalist.json", "training", data))
    assert len(items) > len(plain)  # unlabelled slices, too
    assert sum(len(item["boxes"]) for item in items) > sum(len(item["boxes"]) for item in plain)
    assert any(len(item["ignore"]) for item in items)
    assert (tmp_path / "models" / "model.pt").is_file()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_propagation_alone_needs_neither_experts_nor_an_embedding(
    phantom_data: Path, tmp_path: Path, unchanged_process: None
) -> None:
    names = ("inference.json", "demo_inference.json")
    parser = ConfigParser(ConfigParser.load_config_files([str(BUNDLE / "configs" / name) for name in names]))
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def")
    torch.nn.init.normal_(network.roi_heads.box_predictor.cls_score.weight, std=0.5)
    torch.nn.init.zeros_(network.roi_heads.box_predictor.cls_score.bias)
    save_atomically(network.state_dict(), tmp_path / "model.pt")
    arguments = ["mine", phantom_data, tmp_path / "out", "--bundle", BUNDLE, "--config", "demo_inference"]
    arguments += ["--weights", tmp_path / "model.pt", "--theta", 0.02, "--min-score", 0, "--device", "cpu"]
    arguments += ["--no-intra-patient", "--no-cross-dataset"]
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    records = load_records(tmp_path / "out" / "datalist.json", "training", phantom_data)
    boxes = [a for record in records for a in record["annotations"] if "origin" in a]
    assert {a["origin"] for a in boxes} == {"cross-slice"}
    lesions = {(r["id"], a["lesion"]) for r in records for a in r["annotations"] if a["kind"] == "lesion"}
    assert {(r["id"], a["lesion"]) for r in records for a in r["annotations"] if "origin" in a} <= lesions
