"""Mean average precision of classified objects at a low IoU (mAP10), with bootstrap intervals.

Jaeger et al., "Retina U-Net: Embarrassingly Simple Exploitation of Segmentation Supervision for Medical Object
Detection", ML4H 2019, section 4.3: matching at IoU 0.1, which "respects the clinical need for coarse localization".
Counting rules are those of its program (medicaldetectiontoolkit, ``evaluator.py``).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lesion_app.boxes.overlap import box_iou, box_overlap_3d
from lesion_app.metrics.bootstrap import Interval, percentile_interval, resampled_counts

RECALL_POINTS = np.linspace(0.0, 1.0, 101)
"""Recalls at which COCO reads the precision envelope."""


@dataclass(frozen=True, eq=False)
class ObjectMatches:
    """Every counted prediction of one class, by falling score, and whether it hit.

    Args:
        scores: ``[D]`` float64, non-increasing.
        hits: ``[D]`` bool.
        cases: ``[D]`` int64, number of the image or volume it lies in.
        n_truth: ``[cases]`` int64, true objects of each.
    """

    scores: np.ndarray
    hits: np.ndarray
    cases: np.ndarray
    n_truth: np.ndarray

    @property
    def average_precision(self) -> float:
        """See :func:`interpolated_average_precision`."""
        return interpolated_average_precision(self.hits, int(self.n_truth.sum()))

    def resampled(self, counts: np.ndarray) -> np.ndarray:
        """``[B]`` average precision when case c is there ``counts[b, c]`` times; NaN where no true object is."""
        return np.array(
            [
                interpolated_average_precision(np.repeat(self.hits, row[self.cases]), int((row * self.n_truth).sum()))
                for row in counts
            ]
        )


@dataclass(frozen=True, eq=False)
class ObjectMap:
    """Result of :func:`object_map`.

    Args:
        matches: by class.
        mean: mAP over the classes that have true objects; NaN without any.
        by_class: AP of each class; NaN without true objects.
    """

    matches: Mapping[int, ObjectMatches]
    mean: float
    by_class: Mapping[int, float]

    def resampled_mean(
        self, resamples: int = 1000, seed: int = 0, groups: Sequence[Hashable] | None = None
    ) -> np.ndarray:
        """``[B]`` mAP over resamples of the cases, or of ``groups`` of them (the patient of each case)."""
        n_cases = len(next(iter(self.matches.values())).n_truth)
        counts = resampled_counts(range(n_cases) if groups is None else groups, resamples, seed)
        values = np.stack([m.resampled(counts) for m in self.matches.values()])
        known = ~np.isnan(values)
        total = np.where(known, values, 0.0).sum(axis=0)
        return np.divide(total, known.sum(axis=0), out=np.full(resamples, np.nan), where=known.any(axis=0))

    def interval(
        self, level: float = 0.95, resamples: int = 1000, seed: int = 0, groups: Sequence[Hashable] | None = None
    ) -> Interval:
        """Percentile bootstrap interval of ``mean``."""
        return percentile_interval(self.resampled_mean(resamples, seed, groups), level)


def object_map(
    truth: Sequence[Mapping[str, Any]],
    predictions: Sequence[Mapping[str, Any]],
    *,
    iou_threshold: float = 0.1,
    min_score: float = 0.1,
    classes: Sequence[int] | None = None,
) -> ObjectMap:
    """AP of each class and their mean over all images or volumes pooled.

    Within a class, each prediction belongs to the true object of its largest IoU (the first of equals) if that is
    greater than ``iou_threshold``. Of several on one object the best is a hit; the others, and those that belong to no
    object, are false. Objects without a prediction are missed. Equal scores rank in the order given.

    Args:
        truth: one mapping a case, ``boxes`` ``[G, 4]`` or ``[G, 6]`` half-open px or voxels, ``labels`` ``[G]``.
        predictions: one a case in the same order, ``boxes``, ``scores``, ``labels``; tensors, arrays or lists.
        iou_threshold: 0 to below 1; the paper's 0.1.
        min_score: only predictions with a greater score count; the program's 0.1.
        classes: labels to average over; None = those of the truth.

    Raises:
        ValueError: the two differ in length, shapes disagree, no class, or an argument out of its range.
    """
    if len(truth) != len(predictions) or not truth:
        raise ValueError(
            f"expected as many predictions as true cases, at least one; got {len(predictions)}, {len(truth)}"
        )
    if not 0 <= iou_threshold < 1:
        raise ValueError(f"iou_threshold must lie in [0, 1), got {iou_threshold}")
    true = [(_boxes(case["boxes"]), _integers(case["labels"])) for case in truth]
    found = [(_boxes(c["boxes"]), _integers(c["labels"]), _scores(c["scores"])) for c in predictions]
    for boxes, labels, *scores in [*true, *found]:
        if any(len(values) != len(boxes) for values in (labels, *scores)):
            raise ValueError("every case needs as many labels (and scores) as boxes")
    if classes is None:
        classes = sorted({int(label) for _, labels in true for label in labels})
    if not classes:
        raise ValueError("there is no true object to measure with; name the classes")
    matches = {c: _match(true, found, c, iou_threshold, min_score) for c in classes}
    by_class = {c: m.average_precision for c, m in matches.items()}
    known = [value for value in by_class.values() if not np.isnan(value)]
    return ObjectMap(matches, float(np.mean(known)) if known else float("nan"), by_class)


def interpolated_average_precision(hits: np.ndarray, n_truth: int) -> float:
    """Mean over 101 recalls of the best precision at that recall or beyond it (COCO's AP); NaN without truth.

    Args:
        hits: ``[D]`` bool by falling score.
        n_truth: true objects, found or not.
    """
    if n_truth == 0:
        return float("nan")
    tp = np.cumsum(hits)
    precision = tp / np.arange(1, len(tp) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(tp / n_truth, RECALL_POINTS, side="left")
    return float(np.append(envelope, 0.0)[place].mean())


def _match(
    truth: Sequence[tuple[np.ndarray, np.ndarray]],
    predictions: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    label: int,
    iou_threshold: float,
    min_score: float,
) -> ObjectMatches:
    scores, hits, cases = [np.empty(0)], [np.empty(0, dtype=bool)], [np.empty(0, dtype=np.int64)]
    n_truth = np.zeros(len(truth), dtype=np.int64)
    for number, ((true_boxes, true_labels), (boxes, labels, score)) in enumerate(zip(truth, predictions)):
        objects = true_boxes[true_labels == label]
        n_truth[number] = len(objects)
        chosen = np.flatnonzero((labels == label) & (score > min_score))
        if not len(chosen):
            continue
        chosen = chosen[np.argsort(-score[chosen], kind="stable")]
        scores.append(score[chosen].astype(np.float64))
        hits.append(_hits(boxes[chosen], objects, iou_threshold))
        cases.append(np.full(len(chosen), number))
    all_scores = np.concatenate(scores)
    order = np.argsort(-all_scores, kind="stable")
    return ObjectMatches(all_scores[order], np.concatenate(hits)[order], np.concatenate(cases)[order], n_truth)


def _hits(boxes: np.ndarray, objects: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Which of the boxes, best first, are the first on their object."""
    hits = np.zeros(len(boxes), dtype=bool)
    if not len(objects):
        return hits
    if boxes.shape[1] != objects.shape[1]:
        raise ValueError(f"boxes {list(boxes.shape)} cannot be laid over true boxes {list(objects.shape)}")
    measure = box_iou if boxes.shape[1] == 4 else box_overlap_3d
    iou = measure(torch.from_numpy(boxes), torch.from_numpy(objects)).numpy()
    best = iou.argmax(axis=1)
    near = np.flatnonzero(iou[np.arange(len(boxes)), best] > iou_threshold)
    hits[near[np.unique(best[near], return_index=True)[1]]] = True
    return hits


def _boxes(values: Any) -> np.ndarray:
    boxes = _tensor(values).double().numpy()
    if boxes.size == 0:
        return np.empty((0, boxes.shape[1] if boxes.ndim == 2 and boxes.shape[1] in (4, 6) else 4))
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 6) or not np.isfinite(boxes).all():
        raise ValueError(f"boxes must be finite [N, 4] or [N, 6], got {list(boxes.shape)}")
    return boxes


def _integers(values: Any) -> np.ndarray:
    return _tensor(values).long().reshape(-1).numpy()


def _scores(values: Any) -> np.ndarray:
    # In their own precision: a float32 score of 0.1 is not greater than 0.1.
    scores = _tensor(values).reshape(-1).numpy()
    if np.isnan(scores).any():
        raise ValueError("a prediction has no score (NaN)")
    return scores


def _tensor(values: Any) -> torch.Tensor:
    # Numbers in lists are Python's, that is of double precision.
    return values.detach().cpu() if isinstance(values, torch.Tensor) else torch.from_numpy(np.asarray(values))
