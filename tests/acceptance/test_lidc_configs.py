"""Retina U-Net on LIDC-IDRI, from TCIA's files to ``evaluation.json``, in miniature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lesion_app.bundle_run import evaluation_configs, run_bundle
from lesion_app.data.prepare_volumes import prepare_volumes
from lesion_app.networks.segmentation_stage import SegmentationStage
from tests.data.lidc_files import write_lidc

pytestmark = pytest.mark.slow

TINY = {
    "device": "cpu",
    "use_mlflow": False,
    "epochs": 1,
    "epoch_length": 2,
    "val_interval": 1,
    "batch_size": 2,
    "num_workers": 0,
    "val_num_workers": 0,
    "pixel_spacing_mm": 0.7,
    "picture_every": 1000,
    "encoder_depth": 18,
    "encoder_width": 8,
    "pyramid_width": 16,
    "head_channels": 16,
    "network_def#head_layers": 1,
    "detection_score": 0.0,
}


def test_nodules_with_masks_train_and_both_measures_are_written(tmp_path: Path, monkeypatch) -> None:
    source = write_lidc(tmp_path / "tcia")
    data = tmp_path / "data"
    options = {"masks": True}
    prepare_volumes("lidc", source, data, validation_share=0, test_share=0, reader_options=options)
    datalist = json.loads((data / "datalist.json").read_text())
    datalist["validation"] = datalist["test"] = datalist["training"]  # two patients are too few for three splits
    (data / "datalist.json").write_text(json.dumps(datalist))
    outlined: list[int] = []
    loss = SegmentationStage.loss

    def watched(self: SegmentationStage, logits: torch.Tensor, targets: Any, sizes: Any) -> torch.Tensor:
        outlined.extend(int((target["masks"] > 0).sum()) for target in targets)
        return loss(self, logits, targets, sizes)

    monkeypatch.setattr(SegmentationStage, "loss", watched)
    values = {**TINY, "dataset_dir": str(data), "ckpt_dir": str(tmp_path / "models")}
    overlays = ["retina_unet", "lidc"]
    run_bundle(["train.json", *overlays], {**values, "output_dir": str(tmp_path / "training")})
    assert len(outlined) == 4
    assert min(outlined) > 0
    run_bundle(
        evaluation_configs(overlays),
        {**values, "output_dir": str(tmp_path / "evaluation"), "match_min_score": 0.0, "resamples": 20},
    )
    document = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert document["by_class"].keys() == {"1", "2"}
    assert (document["images"], document["patients"]) == (3, 2)
    assert 0 <= document["map"] <= 1
    assert 0 <= document["patient_ap"] <= 1
