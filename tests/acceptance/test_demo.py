"""The demo's whole journey, cut short: what it writes and prints, not how well it detects."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from lesion_app.demo import run_demo
from lesion_app.errors import InputError

SHORT = {"epochs": 2, "epoch_length": 3, "val_interval": 1, "mining_start_iteration": 3, "history_every": 1}


@pytest.mark.slow
def test_demo_runs_from_data_to_lesions_and_says_how_to_look_at_them(tmp_path: Path) -> None:
    output = io.StringIO()
    out = tmp_path / "demo"
    found = run_demo(out, patients=24, seed=1, console=Console(file=output, width=200), overrides=SHORT)

    assert set(found["models"]) == {"teacher", "student"}
    assert found["split"] == "test"
    for model in found["models"].values():
        assert 0 <= model["p3d_ap"] <= 1
        assert list(model["sensitivity"])[:7] == ["0.125", "0.25", "0.5", "1", "2", "4", "8"]
    for name in (
        "data.png",
        "models/model.pt",
        "models/student.pt",
        "results/training/training_curves.png",
        "results/evaluation/froc.png",
        "results/evaluation/evaluation.json",
        "results/lesions/lesions.json",
        "results/lesions/lesions.png",
        "mlruns.db",
    ):
        assert (out / name).stat().st_size > 0, name
    printed = output.getvalue()
    assert "Lesions mined by the teacher" in printed
    assert "tensorboard --logdir" in printed
    assert "mlflow ui --backend-store-uri sqlite:///" in printed
    document = json.loads((out / "results/lesions/lesions.json").read_text())
    assert document["source"]["kind"] == "png"


def test_demo_does_not_touch_a_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="name a new folder"):
        run_demo(tmp_path, patients=60, seed=0, console=Console(file=io.StringIO()))
    assert (tmp_path / "thesis.txt").read_text() == "mine"
