"""How right the boxes are that an arm mined once, before its training."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from lesion_app.data.key_slices import key_slice_items
from lesion_app.metrics.mining import MiningCounts, mined_precision_recall


def mined_once(datalist: Path) -> tuple[MiningCounts, int]:
    """Count the mined boxes of a datalist's training part against its truth, slice by slice.

    Only slices with a label are counted, since a training on them is what the boxes are for.

    Returns:
        counts, and the number of labelled boxes.
    """
    # Asked for as regions to ignore, mined boxes stand apart from labelled ones; labelled slices have no others.
    items = key_slice_items(json.loads(datalist.read_text())["training"], mined="ignore")
    mined, truth, labelled = (
        [torch.tensor(item[key], dtype=torch.float32).reshape(-1, 4) for item in items]
        for key in ("ignore", "truth_boxes", "boxes")
    )
    return mined_precision_recall(mined, truth, labelled), sum(map(len, labelled))
