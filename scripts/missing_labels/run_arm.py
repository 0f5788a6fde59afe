"""Trains and evaluates one arm in a process of its own: ``python run_arm.py FOLDER`` with ``FOLDER/arm.json``."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any


def run_arm(folder: Path) -> None:
    """Train (taking up an interrupted training), evaluate teacher and student, all through the bundle's configs."""
    from lesion_app.bundle_run import run_bundle

    arm = json.loads((folder / "arm.json").read_text())
    values = {
        "dataset_dir": arm["dataset_dir"],
        "datalist": arm["datalist"],
        "ckpt_dir": str(folder / "models"),
        "seed": arm["seed"],
    }
    configs = [*arm["configs"], str(folder / "overlay.json")]
    if arm["offline"]:
        values["datalist"] = mine_once(arm, folder, configs, values)
    run_bundle(configs, {**values, "output_dir": str(folder / "training"), "resume": True})
    run_bundle(
        [*configs, "evaluate"],
        {**values, "output_dir": str(folder / "evaluation"), "evaluate_student": True},
    )


def mine_once(arm: dict[str, Any], folder: Path, configs: list[str], values: dict[str, Any]) -> str:
    """A datalist enriched by the finished model of another arm; made once."""
    from lesion_app.bundle_run import run_bundle

    out = folder / "datalist.json"
    if out.is_file():
        return str(out)
    extra: dict[str, Any] = {}
    mining = ["mine"]
    if arm["offline"]["kind"] == "negative":
        # Only where every lesion is labelled is a find without a label a false one.
        looked_through = folder / "complete.json"
        content = json.loads(Path(arm["offline"]["complete"]).read_text())
        records = sorted(content["training"], key=lambda record: record["id"])
        random.Random(arm["seed"]).shuffle(records)
        content["training"] = records[: max(round(len(records) * arm["offline"]["share"]), 1)]
        looked_through.write_text(json.dumps(content))
        extra["looked_through"] = str(looked_through)
        mining.append("mine_negatives")
    run_bundle(
        [*configs, *mining],
        {
            **values,
            **extra,
            "output_dir": str(folder / "mining"),
            "weights": arm["offline"]["weights"],
            "mined_datalist": str(out),
        },
    )
    return str(out)


if __name__ == "__main__":
    import torch

    sys.path.append(str(Path(__file__).resolve().parents[1]))  # configs name parts of missing_labels
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    run_arm(Path(sys.argv[1]).absolute())
