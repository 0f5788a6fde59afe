"""An interpreter that has the MONAI Deploy SDK, and a network small enough for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
TINY = {
    "pixel_spacing_mm": 3.0,
    "max_size_px": 160,
    "network_def#backbone#growth_rate": 4,
    "network_def#backbone#block_config": [1, 1, 1],
    "network_def#backbone#num_init_features": 8,
    "network_def#backbone#out_channels": 16,
    "network_def#box_head_channels": 16,
    "network_def#box_detections_per_image": 1,
    "network_def#rpn_post_nms_test": 20,
}


@pytest.fixture(scope="session")
def deploy_python() -> Path:
    """Interpreter with the SDK: ``LESION_APP_DEPLOY_PYTHON``, ``.venv-deploy`` (``make deploy-env``) or this one."""
    named = os.environ.get("LESION_APP_DEPLOY_PYTHON")
    for python in [Path(named)] if named else [REPOSITORY / ".venv-deploy" / "bin" / "python", Path(sys.executable)]:
        look = "import importlib.metadata as m; m.version('monai-deploy-app-sdk'); m.version('holoscan-cu13')"
        if python.is_file() and not subprocess.run([python, "-c", look], capture_output=True, check=False).returncode:
            return python
    pytest.skip("the MONAI Deploy App SDK is not installed; make deploy-env, or name LESION_APP_DEPLOY_PYTHON")


@pytest.fixture(scope="session")
def tiny_overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Overlay on demo_inference.json: a network of a few thousand parameters on a coarse grid, one box a slab."""
    path = tmp_path_factory.mktemp("overlay") / "tiny.json"
    path.write_text(json.dumps(TINY))
    return path


@pytest.fixture(scope="session")
def tiny_models(tiny_overlay: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models as MONAI Deploy keeps it; the network gives every box a score of one half."""
    import torch
    from monai.bundle import ConfigParser

    from lesion_app.bundle_run import config_paths, find_bundle

    parser = ConfigParser()
    parser.read_config(config_paths(find_bundle(), ["inference", "demo_inference", tiny_overlay]))
    torch.manual_seed(0)
    state = parser.get_parsed_content("network_def").state_dict()
    for name in ("weight", "bias"):
        state[f"roi_heads.box_predictor.cls_score.{name}"].zero_()
    folder = tmp_path_factory.mktemp("models")
    (folder / "tiny").mkdir()
    torch.save(state, folder / "tiny" / "model.pt")
    return folder


@pytest.fixture(scope="session")
def clean_environment() -> Callable[..., dict[str, str]]:
    """``clean_environment(**more)``: this process's variables without any that the application reads."""

    def make(**more: object) -> dict[str, str]:
        ours = ("HOLOSCAN_", "LESION_APP_", "PYTHONPATH", "LD_LIBRARY_PATH")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {**kept, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in more.items()}}

    return make
