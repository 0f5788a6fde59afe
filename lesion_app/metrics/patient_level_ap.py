"""How well the best score of a patient tells whether he has an object of a class at all.

Jaeger et al., "Retina U-Net", 2019, section 4.3 (AP_pat): patient scores are the maximum of the scores a class and
patient. The authors warn of it: a patient counts as right also when the object found is not the one he has.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from lesion_app.metrics.bootstrap import Interval, percentile_interval, resampled_counts


@dataclass(frozen=True, eq=False)
class PatientScores:
    """Patients of one class.

    Args:
        patients: in order of first appearance.
        scores: ``[P]`` float64, best score of a prediction of the class, 0 without any.
        positive: ``[P]`` bool, whether the patient has a true object of the class.
    """

    patients: tuple[Hashable, ...]
    scores: np.ndarray
    positive: np.ndarray

    @property
    def average_precision(self) -> float:
        """Precision averaged over the positives, see :func:`average_precision`."""
        return average_precision(self.positive, self.scores)

    @property
    def auc(self) -> float:
        """Area under the ROC curve, see :func:`roc_auc`."""
        return roc_auc(self.positive, self.scores)

    def interval(self, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Interval:
        """Percentile bootstrap interval of ``average_precision`` over patients."""
        counts = resampled_counts(self.patients, resamples, seed)
        values = [average_precision(np.repeat(self.positive, c), np.repeat(self.scores, c)) for c in counts]
        return percentile_interval(np.array(values), level)


def patient_scores(
    patients: Sequence[Hashable],
    truth: Sequence[Mapping[str, Any]],
    predictions: Sequence[Mapping[str, Any]],
    label: int,
) -> PatientScores:
    """Best score and truth of every patient for one class.

    Args:
        patients: whose each case (image, slice or volume) is; a patient may have several.
        truth: one mapping a case with ``labels`` ``[G]`` of its objects.
        predictions: one a case in the same order with ``scores`` ``[N]`` and ``labels`` ``[N]``. No lower bound of
            scores is applied: ranks at the bottom count as well.
        label: the class (the paper reports malignant).

    Raises:
        ValueError: the three differ in length or are empty, or a case has not as many labels as scores.
    """
    if not len(patients) == len(truth) == len(predictions) or not len(patients):
        raise ValueError(
            "expected a patient, a truth and a prediction a case; "
            f"got {len(patients)}, {len(truth)}, {len(predictions)}"
        )
    scores: dict[Hashable, float] = {}
    positive: dict[Hashable, bool] = {}
    for patient, true, found in zip(patients, truth, predictions):
        labels = _array(found["labels"])
        values = _array(found["scores"])
        if len(labels) != len(values) or np.isnan(values).any():
            raise ValueError("every case needs as many labels as scores, and scores that are numbers")
        best = float(values[labels == label].max(initial=0.0))
        scores[patient] = max(scores.get(patient, 0.0), best)
        positive[patient] = positive.get(patient, False) or bool((_array(true["labels"]) == label).any())
    return PatientScores(tuple(scores), np.array(list(scores.values())), np.array(list(positive.values())))


def average_precision(positive: np.ndarray, scores: np.ndarray) -> float:
    """Sum over falling thresholds of (recall gained) x precision, equal scores being one threshold.

    The number that ``sklearn.metrics.average_precision_score`` gives; no interpolation.

    Args:
        positive: ``[P]`` bool.
        scores: ``[P]``.

    Returns:
        0..1; NaN without a positive.
    """
    total = int(np.sum(positive))
    if total == 0:
        return float("nan")
    order = np.argsort(-np.asarray(scores), kind="stable")
    ranked = np.asarray(scores)[order]
    last = np.append(ranked[1:] < ranked[:-1], True)
    tp = np.cumsum(np.asarray(positive)[order])[last]
    precision = tp / (np.flatnonzero(last) + 1)
    return float(np.sum(np.diff(tp, prepend=0) * precision) / total)


def roc_auc(positive: np.ndarray, scores: np.ndarray) -> float:
    """Chance that a positive has a greater score than a negative, equal scores counting half.

    Args:
        positive: ``[P]`` bool.
        scores: ``[P]``.

    Returns:
        0..1; NaN unless there are both.
    """
    positive = np.asarray(positive, dtype=bool)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(np.asarray(scores))
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def _array(values: Any) -> np.ndarray:
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    return array.astype(np.float64).reshape(-1)
