"""A data set small enough to train on in seconds, and settings to match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lesion_app.data.datalist import prepare_deeplesion
from lesion_app.data.phantom import write_phantom


@pytest.fixture(scope="session")
def tiny_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantom patients of 128 px with their datalist: four to train on, two each for validation and test."""
    folder = tmp_path_factory.mktemp("data") / "phantom"
    write_phantom(folder, 8, seed=3, size=128, thickness_mm=(30, 40), z_spacings=(5.0,), split=(0.5, 0.25, 0.25))
    prepare_deeplesion(folder, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_training() -> dict[str, Any]:
    """Overrides for a training of four iterations that mines."""
    return {
        "epochs": 2,
        "epoch_length": 2,
        "batch_size": 2,
        "val_interval": 1,
        "mining_start_iteration": 1,
        "score_threshold": 0.02,  # an untrained teacher is sure of nothing
        "picture_every": 2,
    }
