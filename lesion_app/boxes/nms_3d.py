"""Non-maximum suppression of 3D boxes, which torchvision has for images only."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from lesion_app.boxes.overlap import box_overlap_3d


def nms_3d(boxes: Tensor, scores: Tensor, iou_threshold: float, count: int | None = None) -> Tensor:
    """Greedy suppression: the best box drops all whose IoU with it is greater, the best of the rest goes on.

    One turn a kept box, so the time grows with what is kept, not with what is given.

    Args:
        boxes: ``[N, 6]`` (x1, y1, z1, x2, y2, z2), half-open, voxels or mm.
        scores: ``[N]``; of equals the first one leads.
        iou_threshold: 0..1.
        count: stop after so many; None = all.

    Returns:
        indices ``[K]`` int64 of the kept boxes, by falling score.

    Raises:
        ValueError: boxes other than [N, 6], or another number of scores.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 6 or scores.shape != boxes.shape[:1]:
        raise ValueError(f"boxes must be [N, 6] with scores [N], got {list(boxes.shape)} and {list(scores.shape)}")
    waiting = torch.argsort(scores, descending=True, stable=True)
    kept: list[Tensor] = []
    while len(waiting) and (count is None or len(kept) < count):
        kept.append(waiting[0])
        iou = box_overlap_3d(boxes[waiting[:1]], boxes[waiting[1:]])[0]
        waiting = waiting[1:][iou <= iou_threshold]
    return torch.stack(kept) if kept else waiting[:0]


def class_wise_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float, count: int) -> Tensor:
    """Suppression within each label, in 2D (torchvision's ``batched_nms``) and 3D.

    Args:
        boxes: ``[N, 4]`` or ``[N, 6]``, half-open.
        scores, labels: ``[N]``.
        iou_threshold: 0..1.
        count: most boxes kept over all labels, the best.

    Returns:
        indices ``[K]`` int64, by falling score.
    """
    if boxes.shape[1] == 4:
        return batched_nms(boxes, scores, labels, iou_threshold)[:count]
    kept = [
        here[nms_3d(boxes[here], scores[here], iou_threshold, count)]
        for label in labels.unique()
        for here in [(labels == label).nonzero()[:, 0]]
    ]
    if not kept:
        return labels.new_zeros(0)
    joined = torch.cat(kept)
    return joined[torch.argsort(scores[joined], descending=True, stable=True)][:count]
