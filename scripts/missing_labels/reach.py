"""How many of the hidden lesions a finished model finds at every tau, and how right it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lesion_app.data.deeplesion import LABEL_TABLE, deeplesion_records
from lesion_app.data.deeplesion_csv import read_deeplesion_csv
from lesion_app.data.record import Record
from lesion_app.data.truth import attach_truth, read_truth
from lesion_app.metrics.mining import MiningCounts, hidden_truth, mined_precision_recall

LOWEST = 0.2
"""Score from which finds are kept."""


@dataclass(frozen=True)
class Finds:
    """What a model finds on key slices, a list entry each.

    Args:
        boxes, scores: ``[N, 4]`` px and ``[N]`` of its finds that are no labelled lesion.
        truth, labelled: ``[M, 4]`` and ``[L, 4]`` px, every lesion and those with a label.
        spacing_mm: of a pixel.
    """

    boxes: list[Tensor]
    scores: list[Tensor]
    truth: list[Tensor]
    labelled: list[Tensor]
    spacing_mm: list[float]

    def counts(self, tau: float) -> MiningCounts:
        """Right and found, of finds from ``tau`` on."""
        kept = [boxes[scores >= tau] for boxes, scores in zip(self.boxes, self.scores)]
        return mined_precision_recall(kept, self.truth, self.labelled)

    def recall_at(self, precision: float) -> float:
        """Largest share of the hidden lesions found by a tau at which ``precision`` of the finds are right."""
        taus = [LOWEST + step / 100 for step in range(round(100 * (1 - LOWEST)))]
        reached = [
            counts.recall for tau in taus if (counts := self.counts(tau)).mined and counts.precision >= precision
        ]
        return max(reached, default=0.0)

    def of_sides(self, low: float, high: float, tau: float) -> MiningCounts:
        """As :meth:`counts`, of hidden lesions whose longer side (mm) lies in ``[low, high)``; others do not count."""
        total = MiningCounts()
        for boxes, scores, truth, labelled, spacing in zip(
            self.boxes, self.scores, self.truth, self.labelled, self.spacing_mm
        ):
            hidden = hidden_truth(truth, labelled)
            side = (hidden[:, 2:] - hidden[:, :2]).amax(dim=1) * spacing
            hidden = hidden[(side >= low) & (side < high)]
            total += mined_precision_recall([boxes[scores >= tau]], [hidden], [hidden.new_zeros((0, 4))])
        return total


def read_finds(datalist: Path) -> Finds:
    """Finds, labels and truth of the labelled slices of a datalist's training part that ``mine`` wrote into."""
    found = Finds([], [], [], [], [])
    for record in json.loads(datalist.read_text())["training"]:
        on_slices: dict[int, list[dict[str, Any]]] = {}
        for annotation in record["annotations"]:
            on_slices.setdefault(annotation["slice"], []).append(annotation)
        for number, here in on_slices.items():
            labelled = [a["box"] for a in here if a["kind"] == "lesion"]
            mined = [a for a in here if a["kind"] == "mined"]
            if not labelled:
                continue
            found.labelled.append(_boxes(labelled))
            found.boxes.append(_boxes([a["box"] for a in mined]))
            found.scores.append(torch.tensor([a["sightings"][-1]["score"] for a in mined]))
            found.truth.append(_boxes([t["box"] for t in record["truth"] if t["slice"] == number]))
            found.spacing_mm.append(record["spacing_mm"][0])
    return found


def _boxes(rows: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def unseen_records(root: Path) -> list[Record]:
    """Test patients of a phantom with the labels that the law left them, as training patients have them."""
    records = deeplesion_records(read_deeplesion_csv(root / LABEL_TABLE), dataset="phantom").test
    attach_truth(records, read_truth(root / "truth.json"))
    return records
