"""The detectors of docs/retina_unet.md from their configs: on slices, slabs and volumes of phantoms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle import ConfigParser

from lesion_app.bundle_run import run_bundle
from lesion_app.data.datalist import load_records
from lesion_app.data.phantom_collections import write_collection
from lesion_app.data.prepare_volumes import prepare_volumes
from lesion_app.inferers.detect import detect
from lesion_app.inferers.lesion_masks import read_lesion_masks

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
NETWORKS = {
    "retina_unet": "RetinaUNet",
    "retina_net": "RetinaNet",
    "mask_rcnn": "MaskRCNNND",
    "faster_rcnn_plus": "FasterRCNNND",
    "two_stage_retina_unet": "TwoStageRetinaUNet",
    "unet_heuristic": "UNetHeuristic",
}
SEGMENTING = ("retina_unet", "mask_rcnn", "two_stage_retina_unet", "unet_heuristic")
SMALL = {"encoder_depth": 18, "encoder_width": 4, "pyramid_width": 8, "head_channels": 8, "rpn_channels": 8}


def settings(data: Path, folder: Path, **more: Any) -> dict[str, Any]:
    """A run of seconds."""
    return {
        "dataset_dir": str(data),
        "ckpt_dir": str(folder / "models"),
        "output_dir": str(folder / "training"),
        "device": "cpu",
        "use_mlflow": False,
        "epochs": 1,
        "epoch_length": 2,
        "batch_size": 2,
        "val_interval": 1,
        "num_workers": 0,
        "val_num_workers": 0,
        **more,
    }


def overlay(folder: Path, **values: Any) -> Path:
    path = folder / "small.json"
    path.write_text(json.dumps({**SMALL, **values}))
    return path


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("form", [(), ("slices_2dc.json",), ("volume_3d.json",)])
@pytest.mark.parametrize("base", ["train.json", "inference.json"])
def test_every_detector_is_built_in_every_form(name: str, form: tuple[str, ...], base: str) -> None:
    files = [str(BUNDLE / "configs" / file) for file in (base, f"{name}.json", *form)]
    parser = ConfigParser(ConfigParser.load_config_files(files))
    parser["encoder_depth"] = 18
    network = parser.get_parsed_content("network_def")
    assert type(network).__name__ == NETWORKS[name] == parser["network_name"]
    assert network.backbone.dim == (3 if "volume_3d.json" in form else 2)
    assert network.num_slices == (7 if "slices_2dc.json" in form else 1)


def test_recipe_is_the_paper_s() -> None:
    """Section 4.3: batches of 20 (8 in 3D), Adam, 1e-4; section 3.3: RoIs of 7 x 7 x 3, matched from 0.3 on in 3D."""
    files = [str(BUNDLE / "configs" / file) for file in ("train.json", "mask_rcnn.json")]
    plane = ConfigParser(ConfigParser.load_config_files(files)).get()
    files.append(str(BUNDLE / "configs" / "volume_3d.json"))
    volume = ConfigParser(ConfigParser.load_config_files(files)).get()
    assert (plane["batch_size"], volume["batch_size"]) == (20, 8)
    assert (plane["learning_rate"], plane["optimizer"]["_target_"]) == (0.0001, "torch.optim.Adam")
    assert (volume["roi_size"], volume["mask_roi_size"]) == ([3, 7, 7], [5, 14, 14])
    assert (plane["roi_fg_iou"], volume["roi_fg_iou"]) == (0.5, 0.3)
    assert (plane["rpn_channels"], volume["rpn_channels"]) == (512, 64)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_slices_are_trained_on_under_the_mean_teacher_and_detected_in(
    name: str, tiny_phantom: Path, tmp_path: Path
) -> None:
    configs = ["train.json", f"{name}.json"]
    form = ["slices_2dc.json"] if name == "retina_unet" else []
    masks = ["outlined_labels.json"] if name in SEGMENTING else []
    small = overlay(tmp_path, pixel_spacing_mm=2.0, detection_score=0.01, score_threshold=0.02)
    run_bundle([*configs, *form, *masks, small], settings(tiny_phantom, tmp_path))
    weights = tmp_path / "models" / "model.pt"
    assert weights.is_file()
    ct = next(iter(sorted((tiny_phantom / "Images_png").iterdir())))
    found = detect(
        ct,
        tmp_path / "out",
        configs=[
            f"{name}.json", *form, *(["lesion_masks.json"] if masks else []),
            small,
        ],
        weights=weights,
        min_score=0.0,
        spacing_mm=(0.8, 0.8, 5.0),
    )  # fmt: skip
    assert found["lesions"]
    if masks:
        labels = read_lesion_masks(tmp_path / "out" / "lesion_masks.nii.gz", found)
        assert np.unique(labels).tolist() == list(range(len(found["lesions"]) + 1))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms in LiTS's layout, prepared: volumes whose lesions are marked in 3D."""
    folder = tmp_path_factory.mktemp("volumes")
    write_collection(
        "lits", folder / "raw", 3, seed=1, size=96, thickness_mm=(20, 30), z_spacings=(5.0,), conspicuity_hu=150.0
    )
    prepare_volumes("lits", folder / "raw", folder / "data")
    return folder


@pytest.mark.slow
def test_3d_retina_unet_trains_and_detects_on_volumes(volumes: Path, tmp_path: Path) -> None:
    """Its loss falls, it finds something, and the lesions' voxels come out as a label map."""
    form = {"patch_slices": 8, "patch_px": 32, "slice_interval_mm": 5.0, "pixel_spacing_mm": 2.0}
    network = {
        "encoder_width": 8,
        "pyramid_width": 16,
        "head_channels": 16,
        "hu_min": -200,
        "hu_max": 300,
        "pixel_mean": 127,
        "pixel_std": 50,
        "network_def#backbone#norm": "instance",
        "network_def#head_layers": 1,
    }
    training = {"epochs": 1, "epoch_length": 120, "learning_rate": 0.003, "history_every": 1}
    small = overlay(tmp_path, **form, **network)
    run_bundle(
        ["train.json", "retina_unet.json", "volume_3d.json", "volume_3d_train.json", small],
        settings(volumes / "data", tmp_path, **training, foreground_probability=0.9, ema_decay=0.9),
    )
    losses = [
        json.loads(line)["loss"]
        for line in (tmp_path / "training" / "history.jsonl").read_text().splitlines()
        if '"loss"' in line
    ]
    assert np.mean(losses[-15:]) < 0.9 * np.mean(losses[:15])
    record = load_records(volumes / "data" / "datalist.json", "training", volumes / "data")[0]
    found = detect(
        volumes / "raw" / f"volume-{int(record['series_id'].split('-')[1])}.nii",
        tmp_path / "out",
        configs=["retina_unet.json", "volume_3d.json", "lesion_masks.json", small],
        weights=tmp_path / "models" / "model.pt",
        min_score=0.01,
    )
    assert found["lesions"]
    labels = read_lesion_masks(tmp_path / "out" / "lesion_masks.nii.gz", found)
    assert np.unique(labels).tolist() == list(range(len(found["lesions"]) + 1))
