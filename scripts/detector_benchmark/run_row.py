"""Trains and evaluates one row in a process of its own: ``python run_row.py FOLDER`` with ``FOLDER/row.json``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def run_row(folder: Path) -> None:
    """Train (taking up an interrupted training) and evaluate the best model, all through the bundle's configs."""
    from lesion_app.bundle_run import run_bundle

    row: dict[str, Any] = json.loads((folder / "row.json").read_text())
    values = {
        "dataset_dir": row["dataset_dir"],
        "datalist": row["datalist"],
        "ckpt_dir": str(folder / "models"),
        "seed": row["seed"],
    }
    configs = [*row["configs"], str(folder / "overlay.json")]
    if not (folder / "models" / "last.pt").is_file():
        run_bundle(configs, {**values, "output_dir": str(folder / "training"), "resume": True})
    for split in row["evaluated"]:
        if (folder / split / "evaluation.json").is_file():
            continue
        options: dict[str, Any] = {"split": split, "output_dir": str(folder / split)}
        if split == "training":
            options["validate#dataset#data#limit"] = "@training_images_measured"
        run_bundle([*configs, "typed_evaluate", str(folder / "in_evaluation.json")], {**values, **options})


if __name__ == "__main__":
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    run_row(Path(sys.argv[1]).absolute())
