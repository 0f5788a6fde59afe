"""How well each way of mining did, against the truth of a phantom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch

from lesion_app.data.record import Annotation, Record
from lesion_app.metrics.mining import MiningCounts, mined_precision_recall


def counts_by_origin(records: Sequence[Record], iou_threshold: float = 0.5) -> dict[str, MiningCounts]:
    """Precision and recall of mined boxes and ignored regions, origin by origin.

    Every slice of every record with ``truth`` is counted: hidden are its true boxes that no ``lesion`` annotation lies
    on, so recall is the share of all hidden 2D boxes (see `mined_precision_recall`).

    Args:
        records: enriched ones; those without ``truth`` are passed over.
        iou_threshold: IoU from which two boxes are one lesion.

    Returns:
        counts by ``origin`` of the annotations, by name, and ``all`` for their union.
    """
    origins = sorted({a["origin"] for r in records for a in r["annotations"] if "origin" in a})
    total = {name: MiningCounts() for name in (*origins, "all")}
    for record in records:
        if "truth" not in record:
            continue
        truth: dict[int, list[list[float]]] = defaultdict(list)
        marks: dict[int, list[Annotation]] = defaultdict(list)
        for place in record["truth"]:
            truth[place["slice"]].append(place["box"])
        for annotation in record["annotations"]:
            marks[annotation["slice"]].append(annotation)
        slices = sorted(set(truth) | set(marks))
        true = [_boxes(truth[z]) for z in slices]
        labelled = [_boxes([a["box"] for a in marks[z] if a["kind"] == "lesion"]) for z in slices]
        for name in total:
            mined = [
                _boxes([a["box"] for a in marks[z] if "origin" in a and name in (a["origin"], "all")]) for z in slices
            ]
            total[name] += mined_precision_recall(mined, true, labelled, iou_threshold)
    return total


def _boxes(boxes: Sequence[Sequence[float]]) -> torch.Tensor:
    return torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
