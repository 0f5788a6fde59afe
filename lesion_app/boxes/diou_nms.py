"""Greedy non-maximum suppression by distance IoU."""

from __future__ import annotations

import torch
from torch import Tensor

from lesion_app.boxes.overlap import box_iou


def diou_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float, beta: float = 1.0) -> Tensor:
    """Greedy NMS within each class where boxes with distant centres suppress each other less.

    A box is dropped when a kept one with a higher score has IoU - (d^2 / c^2)^beta above the threshold, with d the
    distance of the centres and c the diagonal of the smallest box around both (Zheng et al., arXiv 1911.08287,
    section 3.4, where beta = 1; Darknet's ``beta_nms``, 0.6 in ``yolov4.cfg``).

    Args:
        boxes: ``[N, 4]`` float (x1, y1, x2, y2), any one unit.
        scores: ``[N]``; of equal ones the first in order goes first.
        labels: ``[N]`` integer classes.
        threshold: see above.
        beta: exponent, > 0.

    Returns:
        indices ``[K]`` int64 of the boxes kept, by falling score.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, labels = boxes[order], labels[order]
    drops = _diou(boxes, beta) > threshold
    drops = (drops & (labels[:, None] == labels)).triu(diagonal=1)
    # Box i is decided once all better ones are: at the latest in round i, in practice after a few rounds, without a
    # loop over boxes.
    kept = torch.ones_like(labels, dtype=torch.bool)
    while True:
        decided = ~(drops & kept[:, None]).any(dim=0)
        if torch.equal(decided, kept):
            return order[kept]
        kept = decided


def _diou(boxes: Tensor, beta: float) -> Tensor:
    """IoU minus the distance term of all pairs, ``[N, N]``."""
    low, high = boxes[:, :2], boxes[:, 2:]
    around = torch.maximum(high[:, None], high) - torch.minimum(low[:, None], low)
    diagonal = around.square().sum(dim=-1)
    centre = (low + high) / 2
    distance = (centre[:, None] - centre).square().sum(dim=-1)
    share = torch.where(diagonal > 0, distance / diagonal, 0.0)
    return box_iou(boxes, boxes) - share.pow(beta)
