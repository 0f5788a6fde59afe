"""How right the boxes are that an arm mined once, before its training."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lesion_app.metrics.mining import MiningCounts, mined_precision_recall


def mined_once(datalist: Path) -> tuple[MiningCounts, int]:
    """Count the mined boxes of a datalist's training part against its truth, slice by slice.

    Only slices with a label are counted, since a training on them is what the boxes are for.

    Returns:
        counts, and the number of labelled boxes.
    """
    counts, labels = MiningCounts(), 0
    for record in json.loads(datalist.read_text())["training"]:
        labelled = _by_slice(record, "annotations", "lesion")
        mined = _by_slice(record, "annotations", "mined")
        truth = _by_slice(record, "truth", None)
        slices = sorted(labelled)
        counts += mined_precision_recall(*([_boxes(part[z]) for z in slices] for part in (mined, truth, labelled)))
        labels += sum(len(labelled[z]) for z in slices)
    return counts, labels


def _by_slice(record: Mapping[str, Any], part: str, kind: str | None) -> defaultdict[int, list[list[float]]]:
    found: defaultdict[int, list[list[float]]] = defaultdict(list)
    for entry in record[part]:
        if kind is None or entry["kind"] == kind:
            found[entry["slice"]].append(entry["box"])
    return found


def _boxes(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
