"""What MONAI Label's own bundle app (0.8.5, unchanged) needs of the bundle; nothing of MONAI Label is imported.

Source: monailabel/tasks/infer/bundle.py, monailabel/tasks/train/bundle.py, monailabel/transform/writer.py.
"""

import json
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose

from lesion_app.bundle_run import find_bundle

CONFIGS = find_bundle() / "configs"
TINY = {
    "network_def#backbone#growth_rate": 4,
    "network_def#backbone#block_config": [1, 1, 1],
    "network_def#backbone#num_init_features": 8,
    "network_def#backbone#out_channels": 16,
    "network_def#box_head_channels": 16,
    "network_def#box_score_threshold": 0.0,
    "network_def#box_detections_per_image": 2,
    "pixel_spacing_mm": 2.0,
}


def read(name: str) -> dict[str, Any]:
    return json.loads((CONFIGS / name).read_text())


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """48 x 40 x 5 voxels of 2 x 2 x 5 mm, stored from right to left."""
    rng = np.random.default_rng(0)
    values = np.full((48, 40, 5), -1000, np.int16)
    values[6:42, 6:34] = rng.integers(-50, 120, (36, 28, 5))
    affine = np.array([[-2.0, 0, 0, 40], [0, -2.0, 0, 30], [0, 0, 5.0, -100], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


def upstream_inference(image: Path, device: str = "cpu", **options: Any) -> dict[str, Any]:
    """The steps of ``BundleInferTask``: config as it reads it, one image as it hands it on."""
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / "inference.json"))
    parser.config["bundle_root"] = str(CONFIGS.parent)
    parser.update(TINY)
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def", instantiate=True)
    shown = parser.get_parsed_content("displayable_configs", instantiate=True)
    data: dict[str, Any] = {"image": str(image), "image_path": str(image), "device": device, **shown, **options}
    parser["displayable_configs"].update({key: data[key] for key in shown})
    parser.parse()
    parser.config["device"] = device
    pre: Any = None
    for key in ("preprocessing", "pre_transforms"):  # the last that there is counts
        if parser.get(key):
            pre = parser.get_parsed_content(key, instantiate=True)
    data = Compose(list(pre.transforms))(data)
    detector = parser.get_parsed_content("detector", instantiate=True)
    parser.get_parsed_content("detector_ops", instantiate=True)
    detector.network = network.eval()
    with torch.no_grad():
        outputs = detector(data["image"][None].to(device), use_inferer=True)
    data.update(outputs[0])
    post = parser.get_parsed_content("postprocessing", instantiate=True)
    return Compose(list(post.transforms))(data)


def test_packed_folder_is_taken_for_a_detection_bundle() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
    try:
        from pack_bundle import NAME
    finally:
        sys.path.pop(0)
    assert "detection" in NAME
    assert not any(word in NAME for word in ("deepedit", "deepgrow", "segmentation"))


def test_metadata_names_image_prediction_and_classes() -> None:
    metadata = read("metadata.json")
    form = metadata["network_data_format"]
    assert next(iter(form["inputs"])) == "image"
    assert next(iter(form["outputs"])) == "pred"
    assert form["outputs"]["pred"]["channel_def"] == {"0": "lesion"}
    assert metadata["version"]
    assert metadata["description"]


def test_weights_lie_where_upstream_looks() -> None:
    parser = ConfigParser(read("inference.json"))
    parser["bundle_root"] = "/b"
    assert parser.get_parsed_content("weights") == "/b/models/model.pt"
    parser = ConfigParser(read("train.json"))
    parser["bundle_root"] = "/b"
    assert parser.get_parsed_content("best_teacher#path") == "/b/models/model.pt"


def test_options_of_the_viewer_reach_the_detector(ct: Path) -> None:
    assert read("inference.json")["displayable_configs"] == {"min_score": read("inference.json")["min_score"]}
    assert len(upstream_inference(ct, min_score=0.0)["box"]) > 0
    assert len(upstream_inference(ct, min_score=0.9)["box"]) == 0  # an untrained network is sure of nothing


def test_boxes_are_centre_and_size_in_lps_mm_up_to_the_outer_faces(ct: Path) -> None:
    data = upstream_inference(ct, min_score=0.0)
    boxes, labels, scores = (data[key].cpu().numpy() for key in ("box", "label", "label_scores"))
    assert boxes.shape == (len(scores), 6)
    assert set(labels.tolist()) == {0}
    low, high = boxes[:, :3] - boxes[:, 3:] / 2, boxes[:, :3] + boxes[:, 3:] / 2
    # the volume's faces in LPS: its first voxel's centre lies at (-40, -30, -100), half a voxel inside
    assert (low >= np.array([-41, -31, -102.5]) - 1e-3).all()
    assert (high <= np.array([-41 + 96, -31 + 80, -102.5 + 25]) + 1e-3).all()
    whole = np.rint((high[:, 2] - -102.5) / 5)
    assert high[:, 2] == pytest.approx(-102.5 + 5 * whole, abs=1e-3)  # slices end at faces, not at centres
    assert data["image_path"] == str(ct)


def test_every_training_handler_is_an_object() -> None:
    """Upstream asks each of them for its ``_target_`` before it puts its checkpoint loader in front."""
    assert all(isinstance(handler, dict) for handler in read("train.json")["train"]["handlers"])


def test_training_takes_upstreams_list_its_loader_and_its_epochs(
    ct: Path, tmp_path: Path, unchanged_process: None
) -> None:
    """The overrides of ``BundleTrainTask``; one step, from weights on disk, publishes models/model.pt anew."""
    import monai.bundle

    parser = ConfigParser(read("train.json"))
    parser.update({**TINY, "pretrained": False})
    torch.manual_seed(1)
    start = parser.get_parsed_content("network_def").state_dict()
    (tmp_path / "models").mkdir()
    torch.save(start, tmp_path / "models" / "model.pt")
    loader = {
        "_target_": "CheckpointLoader",
        "load_path": str(tmp_path / "models" / "model.pt"),
        "load_dict": {"model": "$@network"},
        "strict": False,
    }
    box = [-41 + 2 * 20, -31 + 2 * 18, -102.5 + 5 * 2.5, 24.0, 20.0, 5.0]
    items = [{"image": str(ct), "box": [box], "label": [0]}]
    small = {
        **TINY,
        "pretrained": False,
        "batch_size": 1,
        "epoch_length": 1,
        "val_interval": 1,
        "num_workers": 0,
        "val_num_workers": 0,
        "use_mlflow": False,
        "learning_rate": 1e-12,
        "ckpt_dir": str(tmp_path / "models"),
        "output_dir": str(tmp_path / "eval"),
    }
    before = (tmp_path / "models" / "model.pt").stat().st_mtime_ns
    monai.bundle.run(
        run_id="run",
        init_id=None,
        final_id=None,
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=str(CONFIGS / "train.json"),
        bundle_root=str(CONFIGS.parent),
        device="cpu",
        **{
            **small,
            "train#trainer#max_epochs": 1,
            "train#dataset#data": items,
            "validate#dataset#data": items,
            "train#handlers": [loader, *read("train.json")["train"]["handlers"]],
        },
    )
    published = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert (tmp_path / "models" / "model.pt").stat().st_mtime_ns > before
    name = "backbone.fuse_stride16.weight"
    assert torch.allclose(published[name], start[name], atol=1e-6)  # it went on from them, by next to nothing
