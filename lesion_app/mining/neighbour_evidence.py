"""A lesion that is sure in the slice above or below is sure here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lesion_app.mining.checks import Predict
from lesion_app.mining.neighbour_finds import neighbour_scores
from lesion_app.mining.selection import Detections


class NeighbourEvidence:
    """Judges a find by the highest score it has on its own slab and on those shifted up and down.

    The teacher's tau (``score_threshold`` of the config) then only says what is looked at, and ``tau`` here decides.
    Ours; the thought is that of LENS's cross-slice propagation, which carries annotated boxes on (Yan et al., section
    V-A). Needs ``item["neighbours"]``, as :class:`lesion_app.mining.neighbour_agreement.NeighbourAgreement`.

    Args:
        tau: lowest score on one of the slabs, in (0, 1].
        iou_threshold: smallest IoU of a find on a neighbouring slab.

    Raises:
        ValueError: for a tau out of range.
    """

    def __init__(self, tau: float = 0.9, iou_threshold: float = 0.5) -> None:
        if not 0 < tau <= 1:
            raise ValueError(f"tau must lie in (0, 1], got {tau}")
        self.tau = tau
        self.iou_threshold = iou_threshold

    def confirm(
        self, items: Sequence[dict[str, Any]], mined: Sequence[Detections], predict: Predict
    ) -> list[Detections]:
        """Those of ``mined`` that are sure on some slab, with that score; slabs without a find are not looked at."""
        kept = list(mined)
        for i, others in enumerate(neighbour_scores(items, mined, predict, self.iou_threshold)):
            if others is not None:
                found = mined[i]
                scores = torch.cat([found["scores"][None], others.to(found["scores"])]).amax(dim=0)
                sure = scores >= self.tau
                kept[i] = {"boxes": found["boxes"][sure], "scores": scores[sure], "labels": found["labels"][sure]}
        return kept
