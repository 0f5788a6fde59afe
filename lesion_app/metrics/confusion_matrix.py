"""Which type a detector takes which lesion for."""

from __future__ import annotations

import numpy as np

from lesion_app.metrics.eleven_point_ap import PAPER_IOU
from lesion_app.metrics.typed_boxes import TypedBoxes, match


def confusion_matrix(
    boxes: TypedBoxes, num_classes: int, score_threshold: float = 0.25, iou_threshold: float = PAPER_IOU
) -> np.ndarray:
    """Count lesions by true and predicted type.

    A lesion and the detection that hits it, whatever its type (`match` without labels), are one count; a lesion without
    one is missed; a detection that hits none, or a lesion another one has hit, lies on no lesion.

    Args:
        boxes: see `TypedBoxes`.
        num_classes: C, labels are 1 to C.
        score_threshold: lowest score of a detection that counts.
        iou_threshold: a hit overlaps by more.

    Returns:
        ``[C + 1, C + 1]`` int64: row = true type, the last one "no lesion"; column = predicted type, the last one
        "missed". The lower right corner is 0.

    Raises:
        ValueError: a label beyond ``num_classes``.
    """
    highest = max([0, *boxes.true_label.tolist(), *boxes.found_label.tolist()])
    if highest > num_classes:
        raise ValueError(f"label {highest} was found, expected 1 to {num_classes}")
    shown = boxes.scored_at_least(score_threshold)
    hits, _ = match(shown, iou_threshold, same_label=False)
    missed = np.setdiff1d(np.arange(len(shown.true_label)), hits)
    true = np.concatenate([np.append(shown.true_label, num_classes + 1)[hits], shown.true_label[missed]]) - 1
    found = np.concatenate([shown.found_label, np.full(len(missed), num_classes + 1)]) - 1
    side = num_classes + 1
    return np.bincount(true * side + found, minlength=side * side).reshape(side, side)
