"""Average precision from eleven score thresholds, as Pianese's benchmark defines it.

Not the eleven-point AP of PASCAL VOC 2007, which reads precision at eleven levels of *recall*: here the *scores* 0,
0.1, ... 1 give eleven points of the curve, whose area is the sum of ``precision_i * (recall_i - recall_(i-1))``
(Pianese, "Benchmarking SOTA visual object detection techniques for medical applications", section 3.3.1). What the
paper leaves open is settled as follows: the points are taken from the highest threshold down, so that recall rises,
beginning at 0; a second hit of a lesion is a false positive; a detection hits at an IoU above the threshold (section
3.3.3, "greater than"), which is 0.21 there, and only a lesion of its own type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lesion_app.metrics.typed_boxes import TypedBoxes, match

SCORE_THRESHOLDS = tuple(i / 10 for i in range(11))
PAPER_IOU = 0.21


@dataclass(frozen=True, eq=False)
class ElevenPointAP:
    """Points of the curves and what follows from them; C classes, T thresholds.

    Args:
        labels: ``[C]`` the classes' labels.
        thresholds: ``[T]`` scores, falling.
        precision, recall: ``[C, T]`` at those; precision is 0 where nothing is detected, recall NaN without truth.
        average_precision: ``[C]``, NaN for a class without truth.
        n_truth: ``[C]`` lesions.
    """

    labels: np.ndarray
    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    average_precision: np.ndarray
    n_truth: np.ndarray

    @property
    def mean(self) -> float:
        """mAP: mean over the classes that have lesions; NaN if none has."""
        known = self.average_precision[self.n_truth > 0]
        return float(known.mean()) if len(known) else float("nan")


def eleven_point_ap(
    boxes: TypedBoxes,
    num_classes: int,
    iou_threshold: float = PAPER_IOU,
    score_thresholds: Sequence[float] = SCORE_THRESHOLDS,
) -> ElevenPointAP:
    """Average precision of each class from a few score thresholds (see the module's docstring).

    Args:
        boxes: see `TypedBoxes`.
        num_classes: labels are 1 to this.
        iou_threshold: a hit overlaps by more.
        score_thresholds: a detection counts from its score on (section 3.3.1, "equal to or greater than").

    Raises:
        ValueError: a label beyond ``num_classes``.
    """
    highest = max([0, *boxes.true_label.tolist(), *boxes.found_label.tolist()])
    if highest > num_classes:
        raise ValueError(f"label {highest} was found, expected 1 to {num_classes}")
    # Whom a detection hits depends on those of higher score alone, so one matching serves every threshold.
    hit = match(boxes, iou_threshold, same_label=True)[0] >= 0
    thresholds = np.sort(np.asarray(score_thresholds, dtype=np.float64))[::-1]
    # float32 is what a network's scores are, so that 0.7 reaches 0.7
    level = np.searchsorted(-thresholds.astype(np.float32), -boxes.score.astype(np.float32), side="left")
    shape = (num_classes, len(thresholds) + 1)  # the last column: below every threshold
    found, right = np.zeros(shape), np.zeros(shape)
    np.add.at(found, (boxes.found_label - 1, level), 1)
    np.add.at(right, (boxes.found_label[hit] - 1, level[hit]), 1)
    found, right = (np.cumsum(counts[:, :-1], axis=1) for counts in (found, right))
    n_truth = np.bincount(boxes.true_label - 1, minlength=num_classes)
    precision = right / np.maximum(found, 1)
    recall = np.where(n_truth[:, None] > 0, right / np.maximum(n_truth, 1)[:, None], np.nan)
    steps = np.diff(recall, axis=1, prepend=0.0)
    return ElevenPointAP(
        np.arange(1, num_classes + 1), thresholds, precision, recall, (precision * steps).sum(axis=1), n_truth
    )
