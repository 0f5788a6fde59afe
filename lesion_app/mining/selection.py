"""Which of the teacher's detections count as mined lesions."""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor
from torchvision.ops import box_iou

from lesion_app.boxes.overlap import lie_in


class Detections(TypedDict):
    """Boxes ``[N, 4]`` (x1, y1, x2, y2) px, scores ``[N]``, labels ``[N]`` int64 of one image."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def select_mined(
    predictions: Detections,
    ground_truth: Tensor,
    score_threshold: float | Tensor,
    gt_nms_iou: float,
    ignore: Tensor | None = None,
    ignore_iobb: float = 0.5,
) -> Detections:
    """Keep confident detections that no label explains yet (Bai & Xia, section II: GT-NMS, then tau).

    Args:
        predictions: the teacher's detections in one image, already suppressed among themselves.
        ground_truth: labelled boxes ``[G, 4]`` in the same view, G may be 0.
        score_threshold: tau, or one ``[N]`` a detection; detections with a lower score are dropped.
        gt_nms_iou: detections whose IoU with any label exceeds this are dropped, they are that label.
        ignore: regions ``[M, 4]`` that a label marks as not to be learnt from; a detection with at least
            ``ignore_iobb`` of its area in one of them is dropped (ours: the paper has no such regions).

    Returns:
        the mined lesions, in the order given.
    """
    boxes, scores = predictions["boxes"], predictions["scores"]
    keep = scores >= score_threshold
    if len(ground_truth) and len(boxes):
        keep &= box_iou(boxes, ground_truth.to(boxes)).amax(dim=1) <= gt_nms_iou
    if ignore is not None:
        keep &= ~lie_in(boxes, ignore, ignore_iobb)
    return {"boxes": boxes[keep], "scores": scores[keep], "labels": predictions["labels"][keep]}


def score_histogram(scores: Tensor, bins: int = 10) -> Tensor:
    """Counts ``[bins]`` int64 of scores in [0, 1], equal widths, 1.0 in the last bin."""
    index = (scores.detach().float() * bins).long().clamp(0, bins - 1)
    return torch.bincount(index, minlength=bins)
