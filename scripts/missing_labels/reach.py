"""How many of the hidden lesions a finished model finds at every tau, and how right it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lesion_app.data.deeplesion import LABEL_TABLE, deeplesion_records
from lesion_app.data.deeplesion_csv import read_deeplesion_csv
from lesion_app.data.key_slices import key_slice_items
from lesion_app.data.record import Record
from lesion_app.data.truth import attach_truth, read_truth
from lesion_app.metrics.mining import MiningCounts, hidden_truth, on_hidden

LOWEST = 0.2
"""Score from which finds are kept."""


@dataclass(frozen=True)
class Finds:
    """What a model finds on key slices, of all slices together.

    Args:
        scores, right: ``[N]`` of its finds that are no labelled lesion, and whether each is on a hidden lesion (IoU >=
            0.5; two finds on one are both right, as in :func:`~lesion_app.metrics.mining.mined_precision_recall`).
        best: ``[H]`` highest score of a find on each hidden lesion, 0 where there is none.
        sides_mm: ``[H]`` longer side of each hidden lesion's box.
    """

    scores: Tensor
    right: Tensor
    best: Tensor
    sides_mm: Tensor

    def counts(self, tau: float) -> MiningCounts:
        """Right and found, of finds from ``tau`` on."""
        kept = self.scores >= tau
        return MiningCounts(
            int(kept.sum()), int((kept & self.right).sum()), len(self.best), int(self._found(tau).sum())
        )

    def recall_at(self, precision: float) -> float:
        """Largest share of the hidden lesions found by a tau at which ``precision`` of the finds are right."""
        all_counts = map(self.counts, self.scores.unique().tolist())
        return max((c.recall for c in all_counts if c.precision >= precision), default=0.0)

    def found_of_sides(self, low: float, high: float, tau: float) -> tuple[int, int]:
        """Hidden lesions with a longer side in ``[low, high)`` mm: those found from ``tau`` on, and all."""
        here = (self.sides_mm >= low) & (self.sides_mm < high)
        return int((here & self._found(tau)).sum()), int(here.sum())

    def _found(self, tau: float) -> Tensor:
        return (self.best >= tau) & (self.best > 0)


def read_finds(datalist: Path) -> Finds:
    """Finds on the labelled slices of a datalist's training part that ``mine`` wrote into."""
    records = json.loads(datalist.read_text())["training"]
    score_of = {
        (record["id"], a["slice"], tuple(a["box"])): a["sightings"][-1]["score"]
        for record in records
        for a in record["annotations"]
        if a["kind"] == "mined"
    }
    scores, right, best, sides = [], [], [], []
    # As regions to ignore, mined boxes stand apart from labelled ones; labelled slices have no others.
    for item in key_slice_items(records, mined="ignore"):
        mined, truth, labelled = (
            torch.tensor(item[key], dtype=torch.float32).reshape(-1, 4) for key in ("ignore", "truth_boxes", "boxes")
        )
        hidden = hidden_truth(truth, labelled)
        on_lesion = on_hidden(mined, hidden)
        here = torch.tensor([score_of[item["id"], item["slice"], tuple(box)] for box in item["ignore"]]).reshape(-1)
        scores.append(here)
        right.append(on_lesion.any(dim=1))
        best.append(torch.cat((on_lesion * here[:, None], torch.zeros((1, len(hidden))))).amax(dim=0))
        sides.append((hidden[:, 2:] - hidden[:, :2]).amax(dim=1) * item["spacing_mm"][0])
    return Finds(torch.cat(scores), torch.cat(right), torch.cat(best), torch.cat(sides))


def unseen_records(root: Path) -> list[Record]:
    """Test patients of a phantom with the labels that the law left them, as training patients have them."""
    records = deeplesion_records(read_deeplesion_csv(root / LABEL_TABLE), dataset="phantom").test
    attach_truth(records, read_truth(root / "truth.json"))
    return records
