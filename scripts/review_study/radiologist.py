"""A reader who knows the phantom's truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import torch

from lesion_app.boxes.overlap import box_iou
from lesion_app.data.record import Record, Verdict
from lesion_app.labeling.decisions import Decision, decide
from lesion_app.labeling.review_queue import Suspect

READER = "the phantom's truth"


def verdict_of(
    suspect: Suspect, record: Mapping[str, Any], confirm_iou: float = 0.5, reject_iou: float = 0.1
) -> Verdict:
    """What the truth says about a find.

    Args:
        suspect: boxes in px of the original slice.
        record: with ``truth``.
        confirm_iou: least IoU with a lesion of the slice to be confirmed, as detections are judged.
        reject_iou: IoU with every lesion below which it is rejected; between the two a reader would say that there is
            something, but that this is not its box: ``unknown``.
    """
    here = [place["box"] for place in record["truth"] if place["slice"] == suspect.slice]
    if not here:
        return "rejected"
    overlap = float(box_iou(torch.tensor([suspect.box]), torch.tensor(here)).max())
    if overlap >= confirm_iou:
        return "confirmed"
    return "rejected" if overlap < reject_iou else "unknown"


def answer(suspects: Sequence[Suspect], records: Sequence[Record], number: int) -> list[Decision]:
    """Decisions on ``suspects``; ``number`` of the round stands for the time, so that runs are equal byte for byte."""
    by_id = {record["id"]: record for record in records}
    at = datetime(2000, 1, number, tzinfo=timezone.utc)
    return [decide(one, verdict_of(one, by_id[one.record]), READER, at) for one in suspects]
