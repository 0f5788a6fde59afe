"""Shared fixtures: real and made-up data, a detector and a training small enough for tests."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lesion_app.networks.faster_rcnn_25d import FasterRCNN25D

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real CTs, label files and oracle vectors; skips where it is absent."""
    folder = Path(os.environ.get("LESION_APP_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real test data not found at {folder}; set LESION_APP_TEST_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def make_tiny_detector() -> Callable[..., FasterRCNN25D]:
    """``make_tiny_detector(seed=0, **box_settings)``: a nine-slice detector of a few thousand parameters."""
    import torch

    from lesion_app.networks.densenet_25d import DenseNet25D
    from lesion_app.networks.faster_rcnn_25d import FasterRCNN25D

    def make(seed: int = 0, **settings: Any) -> FasterRCNN25D:
        torch.manual_seed(seed)
        backbone = DenseNet25D(growth_rate=4, block_config=(1, 2, 2), num_init_features=8, bn_size=2, out_channels=16)
        small: dict[str, Any] = {
            "anchor_sizes": (8, 16, 32),
            "rpn_min_size": 2,
            "rpn_pre_nms_train": 200,
            "rpn_pre_nms_test": 200,
            "rpn_post_nms_train": 50,
            "rpn_post_nms_test": 50,
            "box_head_channels": 32,
            "box_score_threshold": 0.0,
        }
        return FasterRCNN25D(backbone, **{**small, **settings})

    return make


@pytest.fixture(scope="session")
def phantom_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six phantom patients with 128 px slices in DeepLesion's layout, and their datalist; not to be changed."""
    from lesion_app.data.datalist import prepare_deeplesion
    from lesion_app.data.phantom import write_phantom

    folder = tmp_path_factory.mktemp("phantom") / "data"
    write_phantom(
        folder, 6, seed=1, size=128, thickness_mm=(40.0, 45.0), z_spacings=(5.0,), lesions_per_volume=(3, 5), workers=1
    )
    prepare_deeplesion(folder, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_run() -> Callable[..., dict[str, Any]]:
    """``tiny_run(data, folder, **more)``: overrides of train.json with demo.json for a run of seconds.

    Two epochs of three iterations with a network that knows nothing, whose teacher mines nevertheless.
    """

    def make(data: Path, folder: Path, **more: Any) -> dict[str, Any]:
        network = {
            "backbone#growth_rate": 4,
            "backbone#block_config": [1, 1, 1],
            "backbone#num_init_features": 8,
            "backbone#out_channels": 16,
            "box_head_channels": 16,
            "box_score_threshold": 0.0,
            "box_detections_per_image": 5,
            "rpn_pre_nms_train": 200,
            "rpn_post_nms_train": 50,
            "rpn_pre_nms_test": 100,
            "rpn_post_nms_test": 20,
        }
        return {
            "dataset_dir": str(data),
            "ckpt_dir": str(folder / "models"),
            "output_dir": str(folder / "training"),
            "device": "cpu",
            "use_mlflow": False,
            "epochs": 2,
            "epoch_length": 3,
            "val_interval": 1,
            "batch_size": 2,
            "pixel_spacing_mm": 2.0,
            "learning_rate": 0.01,
            "lr_warmup_iterations": 4,
            "score_threshold": 0.0,
            "mining_start_iteration": 1,
            "print_every": 1,
            "history_every": 2,
            "picture_every": 1000,
            **{f"network_def#{name}": value for name, value in network.items()},
            **more,
        }

    return make


@pytest.fixture
def unchanged_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts back what running a bundle changes in this process: logging, excepthook, import path, generators, flags."""
    import torch
    from monai.utils import set_determinism

    from lesion_app.handlers.random_state import capture_random_state, restore_random_state

    def loggers() -> list[logging.Logger]:
        known = logging.Logger.manager.loggerDict.values()
        return [logging.getLogger(), *(one for one in known if isinstance(one, logging.Logger))]

    handlers = {one: list(one.handlers) for one in loggers()}
    level = logging.getLogger().level
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(sys, "path", list(sys.path))
    random_state = capture_random_state()
    flags = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    yield
    set_determinism(seed=None)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = flags
    restore_random_state(random_state)
    for one in loggers():
        one.handlers[:] = handlers.get(one, [])
    logging.getLogger().setLevel(level)
