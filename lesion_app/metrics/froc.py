"""Free-response ROC curves and average precision of lesion detectors, as the published programs draw them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

Interpolation = Literal["lesion_harvester", "lens"]

FROC_FPS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""False positives per volume at which Lesion Harvester reports sensitivity."""
AVERAGE_FPS = FROC_FPS[:7]
"""Those whose mean is the "average sensitivity" of both Lesion Harvester's and LENS's papers."""


@dataclass(frozen=True, eq=False)
class FrocCurve:
    """What was hit and what was not, detection by detection in falling order of score.

    Built by ``froc_curve`` and the protocols around it. All arrays are numpy; ``D`` detections, ``G`` true lesions.

    Args:
        scores: ``[D]`` float64, non-increasing.
        tp: ``[D]`` int64, lesions found by this and all higher detections (one detection can find several).
        fp_froc: ``[D]`` int64, detections so far that hit nothing.
        fp_ap: ``[D]`` int64, false positives in the sense of average precision.
        n_truth: G.
        n_volumes: all volumes (or images) that were looked at, also those without truth or detections.
        hit_rank: ``[G]`` int64, place in ``scores`` of the detection that first hit the lesion, D if none did; lesions
            in the order in which the truth was given.
        interpolation: how ``sensitivity_at`` reads the curve unless told otherwise.
    """

    scores: np.ndarray
    tp: np.ndarray
    fp_froc: np.ndarray
    fp_ap: np.ndarray
    n_truth: int
    n_volumes: int
    hit_rank: np.ndarray
    interpolation: Interpolation = "lesion_harvester"

    @property
    def fp_per_volume(self) -> np.ndarray:
        """``[D]`` false positives per volume, the abscissa of the FROC."""
        return self.fp_froc / max(self.n_volumes, 1)

    @property
    def sensitivity(self) -> np.ndarray:
        """``[D]`` share of the lesions found, the ordinate of the FROC; 0 where there is no truth."""
        return self.tp / max(self.n_truth, 1)

    @property
    def precision(self) -> np.ndarray:
        """``[D]`` tp / (tp + fp_ap), the ordinate of the precision-recall curve; 0 for 0 / 0."""
        return self.tp / np.maximum(self.tp + self.fp_ap, np.finfo(np.float64).eps)

    @property
    def recall(self) -> float:
        """Share of the lesions found by all detections together."""
        return float(self.sensitivity[-1]) if len(self.tp) else 0.0

    @property
    def hit_scores(self) -> np.ndarray:
        """``[G]`` score of the detection that first hit each lesion, ``-inf`` for a lesion never hit."""
        return np.append(self.scores, -np.inf)[self.hit_rank]

    @property
    def average_precision(self) -> float:
        """Area under the monotone envelope of precision over recall (PASCAL VOC 2010); 0 without truth."""
        recall = np.concatenate([[0.0], self.sensitivity, [1.0]])
        precision = np.concatenate([[0.0], self.precision, [0.0]])
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        rises = np.flatnonzero(recall[1:] != recall[:-1])
        return float(np.sum((recall[rises + 1] - recall[rises]) * envelope[rises + 1]))

    @property
    def average_sensitivity(self) -> float:
        """Mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per volume."""
        return float(self.sensitivity_at(AVERAGE_FPS).mean())

    def sensitivity_at(self, fps: ArrayLike, interpolation: Interpolation | None = None) -> np.ndarray:
        """Sensitivity at the given numbers of false positives per volume; see ``interpolate_sensitivity``."""
        return interpolate_sensitivity(self.fp_per_volume, self.sensitivity, fps, interpolation or self.interpolation)

    def choose_threshold(self, fp_per_volume: float) -> float:
        """Lowest score threshold that leaves at most ``fp_per_volume`` false positives per volume on this data.

        Detections with a score >= the threshold are kept. Without detections it is 0.0; when even the best score
        brings too many, it is the next number above that score.
        """
        if not len(self.scores):
            return 0.0
        last_of_its_score = np.append(self.scores[1:] < self.scores[:-1], True)
        allowed = np.flatnonzero(last_of_its_score & (self.fp_per_volume <= fp_per_volume))
        return float(self.scores[allowed[-1]]) if len(allowed) else float(np.nextafter(self.scores[0], np.inf))

    def subset(self, keep: ArrayLike) -> FrocCurve:
        """The curve for some of the lesions, e.g. one size or type; the false positives stay those of all.

        A detection on a lesion left out is neither a true nor a false positive, so the sensitivities of a partition,
        weighted by their numbers of lesions, add up to the whole. ``average_precision`` of a subset is not comparable
        with the whole's, because it sets some of the lesions against all of the false positives.

        Args:
            keep: ``[G]`` bool, lesions in the order of the truth.

        Raises:
            ValueError: when ``keep`` is not one truth value a lesion.
        """
        mask = np.asarray(keep)
        if mask.shape != (self.n_truth,) or mask.dtype != bool:
            raise ValueError(f"keep must be [{self.n_truth}] bool, got {list(mask.shape)} {mask.dtype}")
        hit_rank = self.hit_rank[mask]
        tp = np.cumsum(_new_hits(hit_rank, len(self.scores)))
        return replace(self, tp=tp, n_truth=int(mask.sum()), hit_rank=hit_rank)


def froc_curve(
    scores: ArrayLike,
    hit_detection: ArrayLike,
    hit_truth: ArrayLike,
    n_truth: int,
    n_volumes: int,
    *,
    repeats_are_false: bool = False,
    interpolation: Interpolation = "lesion_harvester",
) -> FrocCurve:
    """Count true and false positives over all volumes pooled.

    Detections are taken in falling order of score, equal scores in the order given. Every lesion a detection hits for
    the first time is a true positive (several at once are possible); a detection that hits no lesion is one false
    positive; hitting a lesion again is nothing, or, with ``repeats_are_false``, one false positive for average
    precision (not for FROC) for every lesion hit again.

    Args:
        scores: ``[D]``.
        hit_detection, hit_truth: ``[K]`` int each, the pairs (detection, lesion) whose overlap suffices, each once.
        n_truth: number of lesions.
        n_volumes: number of volumes, also the empty ones.
        repeats_are_false: True is Lesion Harvester's ``evaluation.py``, False is LENS's FROC.
        interpolation: kept in the curve.

    Raises:
        ValueError: when a score is NaN or the pairs point outside the tables.
    """
    score = np.asarray(scores, dtype=np.float64).reshape(-1)
    detection = np.asarray(hit_detection, dtype=np.int64).reshape(-1)
    truth = np.asarray(hit_truth, dtype=np.int64).reshape(-1)
    if np.isnan(score).any():
        raise ValueError("a detection has no score (NaN)")
    if len(detection) != len(truth) or any(
        len(index) and not 0 <= index.min() <= index.max() < size
        for index, size in ((detection, len(score)), (truth, n_truth))
    ):
        raise ValueError(f"hits must pair rows of {len(score)} detections with rows of {n_truth} lesions")
    order = np.argsort(-score, kind="stable")
    rank = np.empty(len(score), dtype=np.int64)
    rank[order] = np.arange(len(score))

    hits = np.bincount(rank[detection], minlength=len(score))
    hit_rank = np.full(n_truth, len(score), dtype=np.int64)
    np.minimum.at(hit_rank, truth, rank[detection])
    new = _new_hits(hit_rank, len(score))
    fp_froc = np.cumsum(hits == 0)
    fp_ap = np.cumsum(np.where(hits > 0, hits - new, 1)) if repeats_are_false else fp_froc
    return FrocCurve(score[order], np.cumsum(new), fp_froc, fp_ap, n_truth, n_volumes, hit_rank, interpolation)


def interpolate_sensitivity(
    fp_per_volume: ArrayLike, sensitivity: ArrayLike, fps: ArrayLike, interpolation: Interpolation
) -> np.ndarray:
    """Read an FROC curve between and beyond its points the way one of two published programs does.

    Both join the points by straight lines. They differ where a number of false positives was reached exactly, because
    there the curve is vertical, and at the ends:

    * ``lesion_harvester`` (``scipy.interpolate.interp1d(..., fill_value="extrapolate")``): the lower end of a vertical
      step; beyond either end the line through the two outermost points. Where these two lie above one another and
      the published program divides by zero, the nearer point's sensitivity is kept.
    * ``lens`` (``np.interp``; also MULAN and AlignShift): the upper end of a vertical step; 0 to the left of the first
      point, the last sensitivity to the right of the last.

    Args:
        fp_per_volume: ``[D]``, non-decreasing.
        sensitivity: ``[D]``.
        fps: ``[Q]`` or one number, where to read.
        interpolation: which of the two.

    Returns:
        ``[Q]`` float64 (or 0-d), finite; 0 for a curve without points.

    Raises:
        ValueError: when ``interpolation`` is unknown.
    """
    x, y = np.asarray(fp_per_volume, dtype=np.float64), np.asarray(sensitivity, dtype=np.float64)
    query = np.asarray(fps, dtype=np.float64)
    if interpolation not in get_args(Interpolation):
        raise ValueError(f"unknown interpolation {interpolation!r}, expected one of {get_args(Interpolation)}")
    if not len(x):
        return np.zeros_like(query)
    if interpolation == "lens":
        return np.interp(query, x, y, left=0.0)
    if len(x) == 1:
        return np.full_like(query, y[0])
    right = np.clip(np.searchsorted(x, query, side="left"), 1, len(x) - 1)
    left = right - 1
    run = x[right] - x[left]
    slope = np.divide(y[right] - y[left], run, out=np.zeros_like(run), where=run > 0)
    # On a vertical outermost segment, right of the curve lies nearest to its upper point, left of it to its lower one.
    start = np.where((run == 0) & (query > x[right]), y[right], y[left])
    return slope * (query - x[left]) + start


def _new_hits(hit_rank: np.ndarray, n_detections: int) -> np.ndarray:
    """``[D]`` lesions first hit by each detection."""
    return np.bincount(hit_rank, minlength=n_detections + 1)[:n_detections]
