"""The four phantom collections of a seed, prepared for training."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from lesion_app.data.datalist import DATALIST, prepare_deeplesion
from lesion_app.data.phantom_collections.write import write_collection
from lesion_app.data.prepare_volumes import prepare_volumes

DEEPLESION_PADDING_PX = 5.0
"""DeepLesion's boxes have this margin; the single-type sets get it, too, so that one head learns one kind of box."""


def make_collections(data: Path, scale: dict[str, Any], seed: int, console: Console) -> None:
    """Write what is not there yet below ``data``, one folder a data set."""
    workers = os.cpu_count() or 1
    deeplesion = {"split": scale["split"]}
    for number, (name, patients) in enumerate(scale["patients"].items()):
        root = data / name
        if (root / DATALIST).is_file():
            continue
        console.print(
            f"{time.strftime('%H:%M:%S')} generating {patients} patients of {name}, seed {seed}", highlight=False
        )
        # Another seed for each set: equal ones would draw equal bodies.
        own_seed = len(scale["patients"]) * seed + number
        raw = root if name == "deeplesion" else data / "raw" / name
        shutil.rmtree(raw, ignore_errors=True)
        write_collection(
            name,  # type: ignore[arg-type]
            raw,
            patients,
            own_seed,
            workers=workers,
            **scale["phantom"] | (deeplesion if name == "deeplesion" else scale.get("single_type_phantom", {})),
        )
        if name == "deeplesion":
            prepare_deeplesion(root, root)
        else:
            prepare_volumes(
                name,  # type: ignore[arg-type]
                raw,
                root,
                validation_share=0.0,
                padding_px=DEEPLESION_PADDING_PX,
                workers=workers,
            )
            shutil.rmtree(raw)
