"""A lesion goes on in the next slice; a chance find does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lesion_app.mining.checks import Predict
from lesion_app.mining.neighbour_finds import neighbour_scores
from lesion_app.mining.selection import Detections


class NeighbourAgreement:
    """Keeps a mined box that the teacher also finds on a slab shifted up or down.

    Needs ``item["neighbours"]``, a list of slabs ``[S, H, W]`` in the teacher's view
    (:class:`transforms.neighbour_slabs.NeighbourSlabsd`). The rule is that of LENS's cross-slice box propagation
    (Yan et al., "Learning from Multiple Datasets with Heterogeneous and Partial Labels", overlap theta 0.5) turned
    around: there a box is carried on to slices where it is found again, here it must be found again to count.

    Args:
        score_threshold: lowest score of the find on a neighbouring slab.
        iou_threshold: smallest IoU of the two.
        needed: neighbours that must agree.
    """

    def __init__(self, score_threshold: float = 0.5, iou_threshold: float = 0.5, needed: int = 1) -> None:
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.needed = needed

    def confirm(
        self, items: Sequence[dict[str, Any]], mined: Sequence[Detections], predict: Predict
    ) -> list[Detections]:
        """Those of ``mined`` that enough neighbours agree with; slabs without a mined box are not looked at."""
        kept = list(mined)
        for i, scores in enumerate(neighbour_scores(items, mined, predict, self.iou_threshold)):
            if scores is not None:
                agreed = (scores >= self.score_threshold).sum(dim=0) >= self.needed
                found = mined[i]
                kept[i] = {name: found[name][agreed] for name in ("boxes", "scores", "labels")}  # type: ignore[typeddict-item,literal-required,call-overload]
        return kept
