"""LENS's third mining strategy: what an expert of another data set is sure of may be a lesion nobody annotated here.

Yan et al., "Learning from multiple datasets with heterogeneous and partial labels for universal lesion detection in
CT", IEEE TMI 40(10), 2021, section V-C, with sigma = 0.5 (section VI-B).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lesion_app.boxes.overlap import box_iou


def uncertain_boxes(
    boxes: Tensor, scores: Tensor, known: Tensor, sigma: float = 0.5, overlap_iou: float = 0.0
) -> Tensor:
    """Which proposals of single-type experts become uncertain lesions, to be ignored in training (not positives:
    Table IV, "Ignored as GT", 44.9 against 47.6).

    Kept is a proposal whose score is > sigma and that overlaps no annotation on its slice, existing or mined. Every
    expert's proposals are judged by themselves; two experts may mark one place.

    Args:
        boxes: [N, 4] (x1, y1, x2, y2) px, half-open, proposals of one expert on one slice.
        scores: [N].
        known: [K, 4] annotations on that slice, existing and mined, in the same px.
        sigma: detection score.
        overlap_iou: IoU up to which two boxes count as not overlapping; 0 takes the paper at its word (no pixel in
            common).

    Returns:
        [N] bool.

    Raises:
        ValueError: as many scores as boxes are expected.
    """
    if len(boxes) != len(scores):
        raise ValueError(f"expected one score a box, got {len(scores)} scores and {len(boxes)} boxes")
    keep = scores > sigma
    if len(boxes) and len(known):
        keep = keep & (box_iou(boxes, known.to(boxes)).amax(dim=1) <= overlap_iou)
    return keep if len(boxes) else torch.zeros(0, dtype=torch.bool)
