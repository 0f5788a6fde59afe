"""A mining check that knows the truth: what mining could win back if nothing wrong were mined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lesion_app.metrics.mining import hidden_truth, on_hidden
from lesion_app.mining.checks import Predict
from lesion_app.mining.selection import Detections


class OnlyRight:
    """Drops every mined box that is on no hidden lesion. For diagnosis only: no user has the truth.

    Args:
        iou_threshold: least IoU with a lesion without a label, as :func:`lesion_app.metrics.mining.hidden_truth` tells.
    """

    def __init__(self, iou_threshold: float = 0.5) -> None:
        self.iou_threshold = iou_threshold

    def confirm(
        self, items: Sequence[dict[str, Any]], mined: Sequence[Detections], predict: Predict
    ) -> list[Detections]:
        """Of each item's boxes those on a lesion of its ``truth_boxes`` that its ``boxes`` leave out."""
        kept = []
        for item, found in zip(items, mined):
            hidden = hidden_truth(item["truth_boxes"], item["boxes"], self.iou_threshold)
            right = on_hidden(found["boxes"], hidden, self.iou_threshold).any(dim=1)
            kept.append(
                Detections(boxes=found["boxes"][right], scores=found["scores"][right], labels=found["labels"][right])
            )
        return kept
