"""What a prepared folder holds: its records, and its slices in HU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image


def read_png(out: Path, record: dict, number: int) -> np.ndarray:
    return np.asarray(Image.open(out / record["image"] / f"{number:03d}.png")).astype(np.int32) - 32768


def only(out: Path, split: str = "training") -> dict:
    (record,) = json.loads((out / "datalist.json").read_text())[split]
    return record
