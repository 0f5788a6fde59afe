"""Trains and tests the arms of one process: ``python run_arm.py FOLDER ...``, each with an ``arm.json``."""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

EVALUATION_ONLY = ("mirrors", "resamples")


def training_configs(detector: str) -> list[str]:
    """Configs of an arm's training; ``detector`` = its overlay."""
    return ["train", detector, "toy"]


def run_arm(folder: Path) -> None:
    """Train (taking up an interrupted training) and test, through the bundle's configs; leaves no weights behind."""
    from lesion_app.bundle_run import run_bundle

    arm = json.loads((folder / "arm.json").read_text())
    settings: dict[str, Any] = arm["values"]
    values = {key: value for key, value in settings.items() if key not in EVALUATION_ONLY}
    values |= {
        "dataset_dir": arm["dataset_dir"],
        "datalist": str(Path(arm["dataset_dir"]) / "datalist.json"),
        "training_images": arm["images"],
        "seed": arm["seed"],
        "ckpt_dir": str(folder / "models"),
    }
    configs = training_configs(arm["config"])
    run_bundle(configs, {**values, "output_dir": str(folder / "training"), "resume": True})
    evaluation = {key: value for key, value in settings.items() if key in EVALUATION_ONLY}
    run_bundle([*configs, "toy_evaluate"], {**values, **evaluation, "output_dir": str(folder / "evaluation")})
    if not arm["keep_models"]:
        shutil.rmtree(folder / "models")


def main(folders: list[str]) -> int:
    """Run the arms one after the other; one that fails does not keep the others from running."""
    failed = 0
    for name in folders:
        folder = Path(name).absolute()
        with (folder / "log.txt").open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        try:
            run_arm(folder)
        except Exception:
            traceback.print_exc()
            failed += 1
        sys.stdout.flush()
        sys.stderr.flush()
        gc.collect()
    return 1 if failed else 0


if __name__ == "__main__":
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    sys.exit(main(sys.argv[1:]))
