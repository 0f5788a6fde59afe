"""The whole journey on one machine without a GPU: data, training, evaluation, detection."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from lesion_app.bundle_run import find_bundle, run_bundle
from lesion_app.data.datalist import load_records, prepare_deeplesion
from lesion_app.data.phantom import write_phantom
from lesion_app.errors import InputError
from lesion_app.handlers.training_history import read_history
from lesion_app.inferers.detect import detect
from lesion_app.progress import progress_bar
from lesion_app.visualize.phantom_sheet import draw_data_sheet
from transforms.ct_reader import open_ct

_MARK = ".lesion-app-demo"

# What a small network can learn on two cores in minutes: small bodies in few thick slices, so that many patients fit
# in, and lesions that stand out by 150 HU more than real ones. `lesion-app phantom` has none of this by default.
PHANTOM: dict[str, Any] = {
    "size": 320,
    "z_spacings": (5.0,),
    "thickness_mm": (50.0, 60.0),
    "lesions_per_volume": (2, 4),
    "conspicuity_hu": 150.0,
    "split": (0.82, 0.06, 0.12),
}


def run_demo(
    out: Path, *, patients: int, seed: int, console: Console, overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Run the demo into ``out``; an earlier demo there is replaced.

    Args:
        out: folder; refused when it holds anything but an earlier demo.
        patients: phantom patients, split into training, validation and test.
        seed: of data and training.
        console: where progress and the table go.
        overrides: config values of the training, for a shorter one.

    Returns:
        what ``evaluation.json`` holds.

    Raises:
        InputError: when ``out`` is in use.
    """
    out = Path(out).absolute()
    if out.exists() and not (out / _MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} holds something else than an earlier demo; name a new folder: lesion-app demo FOLDER")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / _MARK).touch()
    start = time.monotonic()

    def step(text: str) -> None:
        console.print(f"[bold]{time.monotonic() - start:4.0f} s  {text}[/bold]")

    data = out / "data"
    step(f"generating CTs of {patients} phantom patients, half of the lesions without a label")
    with progress_bar(console, "patients") as bar:
        task = bar.add_task("", total=patients)
        write_phantom(
            data, patients, seed, workers=2, progress=lambda done, _: bar.update(task, completed=done), **PHANTOM
        )
    prepare_deeplesion(data, data)
    records = load_records(data / "datalist.json", "training", data)
    draw_data_sheet(records, read_slice, out / "data.png", seed=seed)

    models, results = out / "models", out / "results"
    shared = {
        "dataset_dir": str(data),
        "ckpt_dir": str(models),
        "tracking_uri": f"sqlite:///{out / 'mlruns.db'}",
        "seed": seed,
    }
    step("training: python -m monai.bundle run training --config_file \"['configs/train.json','configs/demo.json']\"")
    run_bundle(["train", "demo"], {**shared, "output_dir": str(results / "training"), **(overrides or {})})

    step("evaluating teacher and student on held-out patients")
    folder = results / "evaluation"
    run_bundle(["train", "demo", "evaluate"], {**shared, "output_dir": str(folder), "evaluate_student": True})
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())

    step("finding lesions in a CT of a held-out patient")
    test = load_records(data / "datalist.json", "test", data)
    ct = max(test, key=lambda record: len(record["annotations"]))
    detect(
        ct["image"],
        results / "lesions",
        configs=["demo_inference"],
        weights=models / "model.pt",
        spacing_mm=ct["spacing_mm"],
        slices=ct["slices"],
        progress=True,
    )
    print_mining(results / "training" / "history.jsonl", console)
    step("done")
    minutes = (time.monotonic() - start) / 60
    bundle = find_bundle()
    console.print(
        f"In {minutes:.1f} minutes: data {data}, best teacher {models / 'model.pt'}\n"
        f"  look at   {out / 'data.png'} (green: labelled, orange: not)\n"
        f"            {results / 'training' / 'training_curves.png'}, mined_lesions.png\n"
        f"            {folder / 'froc.png'}\n"
        f"            {results / 'lesions' / 'lesions.png'}\n"
        f"  curves    tensorboard --logdir {results / 'training'}\n"
        f"  runs      mlflow ui --backend-store-uri sqlite:///{out / 'mlruns.db'}\n"
        f"  your CT   lesion-app detect CT OUT --config demo_inference --weights {models / 'model.pt'}\n"
        f"  configs   {bundle / 'configs'}",
        highlight=False,
    )
    return found


def read_slice(record: Mapping[str, Any], number: int) -> np.ndarray:
    """HU ``[H, W]`` of one slice of a record, by file number."""
    source = open_ct(record["image"], spacing_mm=record["spacing_mm"], slices=record["slices"])
    return source.read([number - record["slices"][0]])[0].numpy()


def print_mining(history: Path, console: Console, rows: int = 6) -> None:
    """Print how mining went over the training as a table of at most ``rows`` stretches."""
    lines = [line for line in read_history(history) if "mined_boxes" in line]
    table = Table(title="Lesions mined by the teacher while training (per iteration)")
    for name in ("iterations", "mined", "labelled", "hidden", "precision %", "recall %"):
        table.add_column(name, justify="right")
    size = max(-(-len(lines) // rows), 1)
    for i in range(0, len(lines), size):
        part = lines[i : i + size]
        counts = ("mined_boxes", "mined_right", "ground_truth_boxes", "hidden_lesions", "hidden_found")
        total = {k: sum(line.get(k, 0.0) for line in part) for k in counts}
        n = len(part)
        mined, hidden = total["mined_boxes"], total["hidden_lesions"]
        table.add_row(
            f"to {part[-1]['iteration']}",
            f"{mined / n:.2f}",
            f"{total['ground_truth_boxes'] / n:.2f}",
            f"{hidden / n:.2f}",
            f"{100 * total['mined_right'] / mined:.0f}" if mined else "-",
            f"{100 * total['hidden_found'] / hidden:.0f}" if hidden else "-",
        )
    console.print(table)
