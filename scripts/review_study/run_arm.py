"""One arm with one seed in a process of its own: ``python run_arm.py FOLDER`` with ``FOLDER/arm.json``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # started as a file: the study's parts lie one folder up
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lesion_app.atomic_file import replacing
from lesion_app.bundle_run import run_bundle
from lesion_app.data.datalist import load_records
from lesion_app.labeling.decisions import decisions_in, write_decisions
from lesion_app.labeling.review_queue import review_queue
from lesion_app.labeling.reviewed_datalist import REVIEWED_SPLIT, write_reviewed_datalist
from review_study.radiologist import answer

RESULT = "round.json"


def run_arm(folder: Path) -> None:
    """Train the first model, or go through an arm's rounds from it; what an earlier start finished stays."""
    arm = json.loads((folder / "arm.json").read_text())
    if arm["start_weights"] is None:
        train_and_evaluate(arm, folder, arm["datalist"], None)
        write_result(folder, {"reviewed": 0})
        return
    weights, datalist, reviewed = arm["start_weights"], Path(arm["datalist"]), 0
    for number in range(1, arm["rounds"] + 1):
        here = folder / f"round{number}"
        here.mkdir(exist_ok=True)
        figures = review_round(arm, here, number, datalist, weights)
        datalist, reviewed = here / "datalist.json", reviewed + figures["asked"]
        train_and_evaluate(arm, here, str(datalist), weights)
        write_result(here, {"reviewed": reviewed, **figures})
        weights = str(here / "models" / "model.pt")


def review_round(arm: dict[str, Any], here: Path, number: int, datalist: Path, weights: str) -> dict[str, int]:
    """The model looks through the training slices, the reader answers on the first ``boxes`` of its queue.

    Leaves ``mined.json``, ``decisions.json`` and ``datalist.json`` in ``here``; returns how many finds waited, how many
    were asked and what the answers were.
    """
    told, mined = here / "asked.json", here / "mined.json"
    if told.is_file():
        return json.loads(told.read_text())
    if not mined.is_file():
        run_bundle(
            [*arm["configs"], arm["overlay"], "mine"],
            {
                "dataset_dir": arm["dataset_dir"],
                "datalist": str(datalist),
                "seed": arm["seed"],
                "output_dir": str(here / "mining"),
                "weights": weights,
                "mined_datalist": str(mined),
                "score_threshold": arm["queue_score"],
            },
        )
    records = load_records(mined, REVIEWED_SPLIT, Path(arm["dataset_dir"]))
    before = {one.id for one in decisions_in(records)}  # the truth does not change its mind on unknown ones
    order, seed = arm["order"], 100 * arm["seed"] + number
    queue = [one for one in review_queue(records, order=order or "score", seed=seed) if one.id not in before]
    asked = queue[: arm["boxes"]] if order else []
    out = here / "datalist.json"
    out.unlink(missing_ok=True)  # of a start that was stopped before it could tell
    if asked:
        decisions = write_decisions(here / "decisions.json", answer(asked, records, number), replace=True)
        applied = write_reviewed_datalist(mined, out, [decisions])
        verdicts = {name: getattr(applied, name) for name in ("confirmed", "rejected", "unknown")}
    else:
        out.write_bytes(mined.read_bytes())
        verdicts = dict.fromkeys(("confirmed", "rejected", "unknown"), 0)
    figures = {"waiting": len(queue), "asked": len(asked), **verdicts}
    with replacing(told) as temporary:
        temporary.write_text(json.dumps(figures))
    return figures


def train_and_evaluate(arm: dict[str, Any], here: Path, datalist: str, weights: str | None) -> None:
    """Train (taking up an interrupted training) and evaluate the teacher, all through the bundle's configs."""
    if (here / "evaluation" / "evaluation.json").is_file():
        return
    values = {
        "dataset_dir": arm["dataset_dir"],
        "datalist": datalist,
        "ckpt_dir": str(here / "models"),
        "seed": arm["seed"],
    }
    configs, training = [*arm["configs"], arm["overlay"]], {"output_dir": str(here / "training"), "resume": True}
    if weights is None:
        run_bundle(configs, {**values, **training})
    else:
        run_bundle([*configs[:-1], "reviewed", configs[-1]], {**values, **training, "start_weights": weights})
    run_bundle([*configs, "evaluate"], {**values, "output_dir": str(here / "evaluation")})


def write_result(here: Path, figures: dict[str, Any]) -> None:
    found = json.loads((here / "evaluation" / "evaluation.json").read_text())["models"]["teacher"]
    with replacing(here / RESULT) as temporary:
        temporary.write_text(json.dumps({**figures, "teacher": found}, indent=1))


if __name__ == "__main__":
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    run_arm(Path(sys.argv[1]).absolute())
