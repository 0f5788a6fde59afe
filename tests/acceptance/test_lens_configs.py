"""LENS from its configs: training, the mean teacher over it, resuming, and detection, on phantoms of a few patients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from lesion_app.bundle_run import run_bundle
from lesion_app.errors import InputError
from lesion_app.handlers.lens_mean_teacher import LensMeanTeacher
from lesion_app.inferers.detect import detect
from lesion_app.networks.anchor_rpn import AnchorRPN
from lesion_app.networks.centernet_rpn import CenterNetRPN
from lesion_app.networks.fcos_rpn import FCOSRPN

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
TRAIN = ("train.json", "lens_train.json")
TINY_NETWORK = {
    "network_def#backbone#growth_rate": 4,
    "network_def#backbone#block_config": [1, 1, 1],
    "network_def#backbone#num_init_features": 8,
    "network_def#backbone#out_channels": 16,
    "network_def#box_head_channels": 16,
    "network_def#box_score_threshold": 0.0,
    "network_def#box_detections_per_image": 5,
    "network_def#proposal_network#channels": 8,
    "network_def#proposal_network#pre_nms_train": 100,
    "network_def#proposal_network#pre_nms_test": 100,
    "network_def#proposal_network#post_nms_train": 30,
    "network_def#proposal_network#post_nms_test": 20,
    "network_def#proposals_test": 20,
}


def settings(data: Path, folder: Path, **more: Any) -> dict[str, Any]:
    """A run of seconds on two data sets: the phantom itself, and again as if another had labelled it."""
    return {
        "dataset_dir": str(data),
        "ckpt_dir": str(folder / "models"),
        "output_dir": str(folder / "training"),
        "device": "cpu",
        "use_mlflow": False,
        "datasets": ["deeplesion", "luna16"],
        "collections#luna16#root": str(data),
        "epochs": 2,
        "epoch_length": 4,
        "val_interval": 2,
        "lr_milestones": [1],
        "batch_size": 2,
        "num_workers": 0,
        "val_num_workers": 0,
        "pretrained": False,
        "pixel_spacing_mm": 4.0,
        "picture_every": 1000,
        **TINY_NETWORK,
        **more,
    }


def test_recipe_is_the_paper_s() -> None:
    """Section VI-B: RAdam, 8 epochs, 0.0001 to a tenth after the 4th and 6th, batches of 4, slices 2:1; equation 1."""
    config = ConfigParser(ConfigParser.load_config_files([str(BUNDLE / "configs" / name) for name in TRAIN])).get()
    network = config["network_def"]
    found = {
        "optimizer": config["optimizer"]["_target_"],
        "epochs": config["epochs"],
        "learning_rate": config["learning_rate"],
        "steps": (config["lr_milestones"], config["lr_gamma"]),
        "batch_size": config["batch_size"],
        "negatives": config["negatives_per_lesion"],
        "regions": [network["proposal_network"][k] for k in ("centre_ratio", "ignore_ratio")],
        "lambdas": (network["proposal_network"]["size_weight"], network["box_regression_weight"]),
        "theta": config["linker"]["iou_threshold"],
        "views": (config["student_scale_range"], config["student_shift_px"]),
        "slabs": (config["num_slices"], config["slice_interval_mm"], config["pixel_spacing_mm"]),
    }
    assert found == {
        "optimizer": "torch.optim.RAdam",
        "epochs": 8,
        "learning_rate": 0.0001,
        "steps": ([4, 6], 0.1),
        "batch_size": 4,
        "negatives": 0.5,
        "regions": [0.2, 0.5],
        "lambdas": (0.1, 10.0),
        "theta": 0.5,
        "views": ([0.8, 1.2], 8),
        "slabs": (9, 2.0, 0.8),
    }


def test_training_and_inference_describe_one_network() -> None:
    train, inference = (
        json.loads((BUNDLE / "configs" / name).read_text()) for name in ("lens_train.json", "lens_inference.json")
    )
    there, here = train["network_def"], inference["network_def"]
    assert train["datasets"] == inference["datasets"]
    differing = {key for key in here if here[key] != there.get(key)}
    assert differing == {"backbone", "fuse", "initialised"}
    assert {**there["backbone"], "pretrained": False} == here["backbone"]
    assert train["linker"] == inference["linker"]


@pytest.mark.parametrize(
    ("target", "kind", "more"),
    [
        ("anchor_rpn.AnchorRPN", AnchorRPN, {}),
        ("centernet_rpn.CenterNetRPN", CenterNetRPN, {"channels": 4}),
        ("fcos_rpn.FCOSRPN", FCOSRPN, {"channels": 4, "tower_layers": 1}),
    ],
)
def test_another_proposal_network_takes_one_line(target: str, kind: type, more: dict[str, int]) -> None:
    parser = ConfigParser(ConfigParser.load_config_files([str(BUNDLE / "configs" / name) for name in TRAIN]))
    parser.update({k: v for k, v in TINY_NETWORK.items() if "proposal_network" not in k})
    chosen = {"_target_": f"lesion_app.networks.{target}", "_mode_": "callable", **more}
    parser.update({"network_def#proposal_network": chosen, "pretrained": False, "datasets": ["deeplesion"]})
    network = parser.get_parsed_content("network_def")
    assert [type(one) for one in network.proposal_networks] == [kind]


def test_training_steps_each_expert_on_its_own_batches_only(phantom_data, tmp_path, unchanged_process) -> None:
    parser = run_bundle(TRAIN, settings(phantom_data, tmp_path, val_interval=5), bundle=BUNDLE)
    network, teacher, optimizer = (parser.get_parsed_content(name) for name in ("network", "teacher", "optimizer"))
    steps = [
        {
            int(optimizer.state[p]["step"]) if p in optimizer.state else 0
            for part in (network.proposal_networks[n], network.roi_heads.box_predictor[n])
            for p in part.parameters()
        }
        for n in (0, 1)
    ]
    assert [len(of_expert) for of_expert in steps] == [1, 1]
    assert sum(of_expert.pop() for of_expert in steps) == 8
    assert {int(optimizer.state[p]["step"]) for p in network.roi_heads.box_head.parameters()} == {8}
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-5)
    # without a mean teacher the network that is validated and kept is the one that was trained
    pairs = zip(network.state_dict().values(), teacher.state_dict().values())
    assert all(torch.equal(one, other) for one, other in pairs)


def test_epoch_is_a_pass_over_all_data_sets_unless_told(phantom_data, tmp_path, unchanged_process) -> None:
    parser = ConfigParser(ConfigParser.load_config_files([str(BUNDLE / "configs" / name) for name in TRAIN]))
    values = settings(phantom_data, tmp_path)
    parser.update({key: value for key, value in values.items() if key != "epoch_length"})
    items = parser.get_parsed_content("train#dataset").data
    length = parser.get_parsed_content("epoch_length")
    lesions = sum(len(item["boxes"]) for item in items if item["dataset"] == 0)
    assert {item["dataset"] for item in items} == {0, 1}
    # the first set has labelled slices only, the second half as many negative ones beside
    assert length == -(-lesions // 2) + -(-(lesions + round(lesions / 2)) // 2)


@pytest.mark.slow
def test_killed_training_goes_on_bit_for_bit(phantom_data, tmp_path, unchanged_process) -> None:
    kept = []
    for name, parts in (("whole", [2]), ("parts", [1, 2])):
        for epochs in parts:
            values = settings(phantom_data, tmp_path / name, epochs=epochs, resume=epochs > 1, val_interval=5)
            run_bundle(TRAIN, values, bundle=BUNDLE)
        state = torch.load(tmp_path / name / "models" / "training_state.pt", weights_only=True)
        kept.append(state["objects"]["student"])
    assert all(torch.equal(kept[0][key], kept[1][key]) for key in kept[0])


@pytest.mark.slow
def test_mean_teacher_mines_for_the_partly_labelled_data_set(phantom_data, tmp_path, unchanged_process) -> None:
    values = settings(phantom_data, tmp_path, score_threshold=0.0, ignore_threshold=0.0, history_every=1)
    parser = run_bundle((*TRAIN, "lens_mean_teacher.json"), values, bundle=BUNDLE)
    assert isinstance(parser.get_parsed_content("mean_teacher"), LensMeanTeacher)
    lines = [json.loads(line) for line in (tmp_path / "training" / "history.jsonl").read_text().splitlines()]
    mined = [line["mined_boxes"] for line in lines if "mined_boxes" in line]
    assert 0 < len(mined) < 8  # batches of the completely labelled set are not mined
    assert any("teacher_p3d_ap" in line for line in lines)
    assert (tmp_path / "models" / "model.pt").is_file()


@pytest.mark.slow
def test_detection_tells_each_expert_s_lesions_and_the_fused_ones(tmp_path, unchanged_process) -> None:
    names = ["deeplesion", "luna16"]
    files = [str(BUNDLE / "configs" / name) for name in ("inference.json", "lens_inference.json")]
    values = {**TINY_NETWORK, "datasets": names}
    overlay = tmp_path / "tiny.json"
    overlay.write_text(json.dumps({**values, "pixel_spacing_mm": 3.0}))
    parser = ConfigParser(ConfigParser.load_config_files([*files, str(overlay)]))
    torch.manual_seed(0)
    parser.update({"network_def#initialised": True})
    torch.save(parser.get_parsed_content("network_def").state_dict(), tmp_path / "model.pt")
    x, y, _ = np.mgrid[:96, :96, :10]
    body = np.where(((x - 48) / 40) ** 2 + ((y - 48) / 32) ** 2 < 1, 40, -1000).astype(np.int16)
    nib.save(nib.Nifti1Image(body, np.diag([-3.0, -3.0, 5.0, 1.0])), tmp_path / "ct.nii.gz")
    document = detect(
        tmp_path / "ct.nii.gz",
        tmp_path / "out",
        configs=["lens_inference.json", str(overlay)],
        weights=tmp_path / "model.pt",
        min_score=0.0,
        device="cpu",
        bundle=BUNDLE,
    )
    assert document["model"]["network"] == "LENS"
    assert [entry["name"] for entry in document["experts"]] == names
    assert document["lesions"]
    assert {lesion["expert"] for lesion in document["lesions"]} <= set(names)
    places = {
        (entry["name"], s["axial_slice"], *s["box"])
        for entry in document["experts"]
        for lesion in entry["lesions"]
        for s in lesion["slices"]
    }
    for lesion in document["lesions"]:
        key = next(s for s in lesion["slices"] if s["axial_slice"] == lesion["key_slice"])
        assert (lesion["expert"], key["axial_slice"], *key["box"]) in places
    assert (tmp_path / "out" / "lesions.png").is_file()


def test_data_set_without_a_collection_is_told_in_one_sentence(phantom_data, tmp_path, unchanged_process) -> None:
    values = settings(phantom_data, tmp_path, datasets=["deeplesion", "brats"])
    with pytest.raises(InputError, match="no collection was given for the data set\\(s\\) brats"):
        run_bundle(TRAIN, values, bundle=BUNDLE)
