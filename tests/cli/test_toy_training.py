"""From toy data to figures: every command is the one that the command before it told."""

from __future__ import annotations

import json
import shlex

TINY = {
    "use_mlflow": False,
    "device": "cpu",
    "epochs": 1,
    "epoch_length": 2,
    "batch_size": 2,
    "num_workers": 0,
    "val_num_workers": 0,
    "encoder_depth": 18,
    "encoder_width": 8,
    "pyramid_width": 16,
    "head_channels": 16,
    "network_def#head_layers": 1,
    "pre_nms": 100,
}


def following(told: str) -> list[str]:
    """Arguments of the command behind ``next:``."""
    line = next(line for line in told.splitlines() if line.startswith("next: lesion-app "))
    return shlex.split(line.split("   (")[0])[2:]


def test_toy_data_are_trained_and_tested_on_by_the_commands_told(run, tmp_path):
    data = tmp_path / "toy data"
    small = ["--training", 4, "--validation", 2, "--test", 3, "--size", 64, "--no-sheet"]
    code, told, _ = run("toy", data, *small)
    assert code == 0
    settings = {**TINY, "output_dir": tmp_path / "results", "ckpt_dir": tmp_path / "models"}
    more = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    code, told, err = run(*following(told), *more)
    assert code == 0, err
    assert f"wrote {tmp_path}/models/model.pt (best epoch), curves and logs" in told
    assert "teacher" not in told.split("wrote ")[-1]
    assert "tensorboard" not in told
    evaluate = following(told)
    code, _, err = run(*evaluate, "--config", "evaluate")
    assert code == 2
    assert "name the config that evaluates this data set in the place of evaluate.json" in err
    code, told, err = run(*evaluate)
    assert code == 0, err
    assert f"{tmp_path}/results/evaluation.json" in told
    assert json.loads((tmp_path / "results" / "evaluation.json").read_text())["images"] == 3
