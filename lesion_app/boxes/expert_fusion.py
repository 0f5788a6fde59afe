"""One list of detections from those of several data sets' experts."""

from __future__ import annotations

import torch
from torch import Tensor

from lesion_app.boxes.leading_nms import leading_nms


def fuse_experts(
    detections: dict[str, Tensor], iou_threshold: float = 0.5, count: int | None = None
) -> dict[str, Tensor]:
    """Pool the experts' detections of one image and suppress the weaker of two that overlap.

    Yan et al., "Learning from multiple datasets with heterogeneous and partial labels for universal lesion detection
    in CT", IEEE TMI 40(10), 2021, section IV-C: "pool proposals from all dataset experts, then do NMS".

    Args:
        detections: ``boxes`` ``[N, 4]`` (x1, y1, x2, y2) px, ``scores`` ``[N]``, ``labels`` ``[N]`` int64: which
            expert found the box, from 1.
        iou_threshold: boxes that overlap a better kept one by more are dropped, whoever found it.
        count: most boxes kept; None = all.

    Returns:
        ``boxes``, ``scores``, ``labels`` (all 1 = lesion) and ``experts`` ``[K]`` int64, the former labels, by falling
        score; of equal scores the one that came first is kept.
    """
    scores, order = detections["scores"].sort(descending=True, stable=True)
    boxes, experts = detections["boxes"][order], detections["labels"][order]
    kept = leading_nms(boxes, scores, iou_threshold, len(boxes) if count is None else count)
    return {
        "boxes": boxes[kept],
        "scores": scores[kept],
        "labels": torch.ones_like(experts[kept]),
        "experts": experts[kept],
    }
