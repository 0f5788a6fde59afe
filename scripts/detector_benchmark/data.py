"""What the rows are trained and tested on: a phantom or DeepLesion, and the datalists of both."""

from __future__ import annotations

import os
import time
from pathlib import Path

from rich.console import Console

from detector_benchmark.scales import Scale
from lesion_app.data.datalist import DATALIST, prepare_deeplesion
from lesion_app.data.phantom import write_phantom
from lesion_app.data.typed_datalist import prepare_typed
from lesion_app.progress import progress_bar


def make_data(out: Path, scale: Scale, patients: int, dataset: Path | None, console: Console) -> dict[str, Path]:
    """Generate and list what is not there yet.

    Args:
        out: folder of the benchmark.
        scale: of the phantom; it is the same for every seed of the trainings.
        patients: of the phantom.
        dataset: DeepLesion's folder instead of a phantom.
        console: to tell the progress on.

    Returns:
        ``root`` of the images; the datalists ``typed`` (typed key slices) and ``untyped`` (the official splits, for
        the stand-in of COCO's weights, with scales that need one).
    """
    root = dataset.absolute() if dataset else out / "data"
    if dataset is None and not root.is_dir():  # a phantom appears whole or not at all
        console.print(f"{time.strftime('%H:%M:%S')} generating {patients} patients", highlight=False)
        with progress_bar(console, "patients") as bar:
            task = bar.add_task("", total=patients)
            write_phantom(
                root,
                patients,
                0,
                workers=os.cpu_count() or 1,
                progress=lambda done, _: bar.update(task, completed=done),
                **scale.phantom,
            )
    lists = {"typed": out / "lists" / "typed", "untyped": out / "lists" / "untyped"}
    if not (lists["typed"] / DATALIST).is_file():
        summary = prepare_typed(root, lists["typed"])
        counts = [f"{name}: {c.key_slices} slices, {c.boxes} lesions" for name, c in summary.counts.items()]
        console.print("; ".join(counts), highlight=False)
        for text in summary.warnings:
            console.print(f"note: {text}", highlight=False)
    if not scale.coco and not (lists["untyped"] / DATALIST).is_file():
        prepare_deeplesion(root, lists["untyped"])
    return {"root": root, **{name: folder / DATALIST for name, folder in lists.items()}}
