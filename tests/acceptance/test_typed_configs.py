"""Detectors of lesion types from their configs: training, resuming, evaluation, export, on a few phantom patients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from lesion_app.bundle_run import load_network, run_bundle
from lesion_app.data.lesion_types import LESION_TYPES
from lesion_app.data.typed_datalist import prepare_typed
from lesion_app.networks.checkpoint import save_atomically
from lesion_app.networks.exporting import export_detector

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
TYPED = ("train.json", "typed_detection.json")
MEASURED = {"training_images_measured": 3}
TINY_FRCNN: dict[str, Any] = {
    "detector_weights": None,
    "network_def#backbone": "resnet18",
    "network_def#norm_eps": 1e-5,
    "network_def#min_size": 64,
    "network_def#max_size": 96,
    "network_def#fpn_channels": 16,
    "network_def#box_head_channels": 16,
    "network_def#anchor_sizes": [8, 16, 32, 64, 128],
    "network_def#rpn_post_nms_train": 50,
    "network_def#rpn_post_nms_test": 20,
    "network_def#box_score_threshold": 0.0,
}
TINY_YOLO: dict[str, Any] = {
    "network_def#width": 0.125,
    "network_def#depth": 0.1,
    "network_def#score_threshold": 0.001,
}
YOLO_TYPED: dict[str, Any] = {**TINY_YOLO, "network_def#num_classes": 8, "slice_repeats": 1}


@pytest.fixture(scope="session")
def typed_datalist(tiny_phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_typed(tiny_phantom, tmp_path_factory.mktemp("typed"), shares=(0.5, 0.25, 0.25)).datalist


def merged(*names: str) -> ConfigParser:
    return ConfigParser(ConfigParser.load_config_files([str(BUNDLE / "configs" / f"{n}.json") for n in names]))


def settings(data: Path, datalist: Path, folder: Path, **more: Any) -> dict[str, Any]:
    """A run of seconds."""
    return {
        "dataset_dir": str(data),
        "datalist": str(datalist),
        "ckpt_dir": str(folder / "models"),
        "output_dir": str(folder / "training"),
        "device": "cpu",
        "use_mlflow": False,
        "epochs": 2,
        "epoch_length": 2,
        "val_interval": 1,
        "batch_size": 2,
        "num_workers": 0,
        "val_num_workers": 0,
        "pretrained": False,
        "pixel_spacing_mm": 4.0,
        **more,
    }


def test_recipe_is_the_papers() -> None:
    """Pianese, sections 3.1 to 3.3."""
    config = merged("train", "typed_detection", "faster_rcnn_resnet50", "rotated_views").get()
    view = config["student_augmentation"][0]
    found = {
        "optimizer": config["optimizer"]["_target_"],
        "rate": config["learning_rate"],
        "epochs": config["epochs"],
        "batch": config["batch_size"],
        "iou": config["hit_iou"],
        "classes": tuple(config["class_names"]),
        "view": [config[view[k][1:]] for k in ("padding_px", "max_angle_deg", "max_crop_px", "size_px")],
        "mining": config["mine"],
    }
    assert found == {
        "optimizer": "torch.optim.Adam",
        "rate": 0.0001,
        "epochs": 110,
        "batch": 32,
        "iou": 0.21,
        "classes": LESION_TYPES,
        "view": [50, 30.0, 64, [240, 240]],
        "mining": False,
    }


def test_yolov4_has_darknets_numbers() -> None:
    """``yolov4.cfg`` with the changes of Pianese, section 3.2."""
    config = merged("train", "typed_detection", "yolov4").get()
    network = config["network_def"]
    assert config["optimizer"]["_target_"] == "torch.optim.SGD"
    assert [config[k] for k in ("learning_rate", "momentum", "weight_decay", "batch_size")] == [0.001, 0.9, 0.0005, 64]
    assert config["epochs"] * config["epoch_length"] == 16000
    assert [config[k] for k in ("lr_warmup_iterations", "lr_warmup_factor")] == [1000, 0.001]
    assert config["lr_decay_iterations"] == [12800, 14400]
    assert [network[k] for k in ("ignore_iou", "anchor_iou", "scale_x_y")] == [0.7, 0.213, [1.2, 1.1, 1.05]]
    small = merged("train", "yolov4", "yolov4_stride4").get()
    assert small["network_def"]["strides"] == [4, 16, 32]
    assert np.ravel(small["network_def"]["anchors"]).tolist() == [
        15, 15, 21, 21, 29, 26, 34, 38, 50, 37, 46, 58, 69, 60, 97, 94, 156, 133,
    ]  # fmt: skip


@pytest.mark.parametrize("slices", [1, 3])
def test_faster_rcnn_takes_one_slice_or_three(slices: int) -> None:
    parser = merged("train", "typed_detection", "faster_rcnn_resnet50", "faster_rcnn_scratch")
    parser.update({**TINY_FRCNN, "num_slices": slices})
    network = parser.get_parsed_content("network_def").eval()
    with torch.no_grad():
        (found,) = network([torch.rand(slices, 40, 40) * 255])
    assert set(found["labels"].tolist()) <= set(range(1, 9))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("configs", "values"),
    [
        (("faster_rcnn_resnet50", "faster_rcnn_scratch", "rotated_views"), {**TINY_FRCNN, "rotated_size_px": [64, 64]}),
        (("yolov4", "yolov4_stride4"), {**YOLO_TYPED, "pixel_spacing_mm": 4.0}),
    ],
    ids=["faster_rcnn", "yolov4"],
)
def test_killed_training_goes_on_bit_for_bit_and_is_evaluated(
    tiny_phantom, typed_datalist, tmp_path, unchanged_process, configs, values
) -> None:
    kept = []
    for name, parts in (("whole", [2]), ("parts", [1, 2])):
        for epochs in parts:
            options = settings(tiny_phantom, typed_datalist, tmp_path / name, epochs=epochs, resume=epochs > 1)
            run_bundle([*TYPED, *configs], {**options, **values, **MEASURED}, bundle=BUNDLE)
        state = torch.load(tmp_path / name / "models" / "training_state.pt", weights_only=True)
        history = (tmp_path / name / "training" / "validation.jsonl").read_text()
        kept.append((state["objects"]["network"], history))
    assert all(torch.equal(kept[0][0][key], kept[1][0][key]) for key in kept[0][0])
    assert kept[0][1] == kept[1][1]
    assert len(kept[0][1].splitlines()) == 2
    options = settings(tiny_phantom, typed_datalist, tmp_path / "whole", output_dir=str(tmp_path / "evaluation"))
    run_bundle([*TYPED, *configs, "typed_evaluate"], {**options, **values}, bundle=BUNDLE)
    found = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert found["split"] == "test"
    detector = found["models"]["detector"]
    assert set(detector["by_type"]) == set(LESION_TYPES)
    assert np.array(detector["confusion"]).shape == (9, 9)
    assert {p.name for p in (tmp_path / "evaluation").glob("*.png")} == {"froc.png", "confusion-detector.png"}


@pytest.mark.slow
def test_yolov4_finds_lesions_in_whole_volumes_too(tiny_phantom, tmp_path, unchanged_process) -> None:
    """On the universal-lesion recipe: trained without a teacher's mining, validated in 3D."""
    options = settings(tiny_phantom, tiny_phantom / "datalist.json", tmp_path, epochs=1, picture_every=1000)
    run_bundle(["train.json", "yolov4"], {**options, **TINY_YOLO}, bundle=BUNDLE)
    assert (tmp_path / "models" / "model.pt").is_file()


@pytest.mark.slow
def test_trained_weights_are_exported_from_the_config(tmp_path: Path) -> None:
    overlay = tmp_path / "tiny.json"
    overlay.write_text(json.dumps(TINY_YOLO))
    parser = merged("inference", "yolov4")
    parser.update(TINY_YOLO)
    torch.manual_seed(0)
    save_atomically(parser.get_parsed_content("network_def").state_dict(), tmp_path / "model.pt")
    network = load_network(["inference.json", "yolov4", overlay], weights=tmp_path / "model.pt", bundle=BUNDLE)
    path = export_detector(network, tmp_path / "yolov4.pt2", (64, 64))  # type: ignore[arg-type]
    image = torch.rand(1, 64, 64) * 255
    boxes, scores, _ = torch.export.load(path).module()(image)
    with torch.no_grad():
        (expected,) = network.eval()([image])  # type: ignore[operator]
    torch.testing.assert_close(scores[scores > 0], expected["scores"])
    torch.testing.assert_close(boxes[scores > 0], expected["boxes"], atol=1e-3, rtol=1e-4)
