"""How well typed lesions are located: mean IoU, misses, how boxes compare in size, sensitivity by type and size.

Pianese, "Benchmarking SOTA visual object detection techniques for medical applications": sections 3.3.2 and 3.3.3 (mean
IoU), section 5 (false negatives), Tables 6 and 7 (size ratios). Where the paper's words and numbers disagree, or it is
silent, the functions say what is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lesion_app.metrics.by_size import SIZE_EDGES_MM, froc_by_size
from lesion_app.metrics.eleven_point_ap import PAPER_IOU
from lesion_app.metrics.froc import FrocCurve, froc_curve
from lesion_app.metrics.typed_boxes import TypedBoxes, match


@dataclass(frozen=True)
class Localisation:
    """How much of the lesions a detector covers at one score threshold.

    Args:
        mean_iou: over all lesions, a missed one counting 0; NaN without lesions.
        mean_iou_of_hits: over the lesions hit; NaN if there is none.
        missed_share: lesions that no detection hits, whatever its type (false negatives).
        silent_share: images without any detection.
    """

    mean_iou: float
    mean_iou_of_hits: float
    missed_share: float
    silent_share: float


def localisation(boxes: TypedBoxes, score_threshold: float = 0.25, iou_threshold: float = PAPER_IOU) -> Localisation:
    """Mean IoU and false negatives.

    The paper averages the IoU of the predictions above its threshold of 0.21 (section 3.3.3), but reports 0 to 22 % on
    the test set, which no mean of such values can be; so ``mean_iou``, in which missed lesions count, is the comparable
    figure, and ``mean_iou_of_hits`` what its words say.

    Args:
        boxes: see `TypedBoxes`; labels are not looked at.
        score_threshold: lowest score of a detection that counts.
        iou_threshold: a hit overlaps by more.
    """
    shown = boxes.scored_at_least(score_threshold)
    hits, iou = match(shown, iou_threshold, same_label=False)
    values = iou[hits >= 0]
    lesions = len(shown.true_box)
    silent = boxes.n_images - len(np.unique(shown.found_image))
    return Localisation(
        mean_iou=float(values.sum() / lesions) if lesions else float("nan"),
        mean_iou_of_hits=float(values.mean()) if len(values) else float("nan"),
        missed_share=1 - len(values) / lesions if lesions else float("nan"),
        silent_share=silent / boxes.n_images if boxes.n_images else float("nan"),
    )


@dataclass(frozen=True)
class SizeRatios:
    """One row of Tables 6 and 7: predicted over true area of the boxes on one side of equal."""

    share: float
    mean: float
    median: float
    minimum: float
    maximum: float


def size_ratio_table(
    boxes: TypedBoxes, score_threshold: float = 0.25, iou_threshold: float = 0.0
) -> dict[str, SizeRatios]:
    """How predicted boxes compare in area with the true ones (Tables 6 and 7).

    Every detection is set against the lesion of its image that it overlaps most. The default asks for no more than that
    they touch, since the paper's largest ratio of 54 cannot have an IoU above 1 / 54.

    Args:
        boxes: see `TypedBoxes`; labels are not looked at, and several detections may have the same lesion.
        score_threshold: lowest score of a detection that counts.
        iou_threshold: the pair overlaps by more.

    Returns:
        ``bigger`` (ratio above 1), ``smaller`` (below 1) and ``equal``: share of the pairs, and mean, median, minimum
        and maximum of the ratios; NaN where there is no pair. A true box without area is in no pair.
    """
    shown = boxes.scored_at_least(score_threshold)
    found, true, iou = shown.overlaps()
    order = np.lexsort((true, -iou, found))
    _, first = np.unique(found[order], return_index=True)
    pairs = order[first]
    pairs = pairs[iou[pairs] > iou_threshold]
    ratio = _area(shown.found_box[found[pairs]]) / _area(shown.true_box[true[pairs]])
    parts = {"bigger": ratio[ratio > 1], "smaller": ratio[ratio < 1], "equal": ratio[ratio == 1]}
    return {name: _row(values, len(ratio)) for name, values in parts.items()}


def typed_froc(boxes: TypedBoxes, iou_threshold: float = PAPER_IOU, same_label: bool = True) -> FrocCurve:
    """Sensitivity over false positives per image; truth in the order of ``boxes``, so that it can be taken apart.

    A lesion is found by a detection of its own type, or with ``same_label`` False of any type. Repeated hits count
    neither way, as in the protocols of DeepLesion's key slices.

    Args:
        boxes: see `TypedBoxes`.
        iou_threshold: a hit overlaps by more.
        same_label: see above.
    """
    found, true, iou = boxes.overlaps()
    hit = iou > iou_threshold
    if same_label:
        hit &= boxes.found_label[found] == boxes.true_label[true]
    return froc_curve(boxes.score, found[hit], true[hit], len(boxes.true_box), boxes.n_images, interpolation="lens")


def sensitivity_table(
    boxes: TypedBoxes,
    num_classes: int,
    sizes_mm: ArrayLike,
    false_positives: Sequence[float] = (0.5, 1.0, 2.0, 4.0),
    iou_threshold: float = PAPER_IOU,
    size_edges_mm: Sequence[float] = SIZE_EDGES_MM,
) -> dict[str, dict[str, Any]]:
    """Sensitivity of each type and each size, at false positives per image.

    Args:
        boxes: see `TypedBoxes`.
        num_classes: labels are 1 to this.
        sizes_mm: ``[G]`` long side of the lesions.
        false_positives: per image, of all types together; the four are those of DeepLesion's key-slice papers.
        iou_threshold: a hit overlaps by more.
        size_edges_mm: borders of the sizes.

    Returns:
        ``by_type`` (``"1"`` ...), ``by_size`` (``"< 10 mm"`` ...; found by any type) and ``all``: each ``{"lesions":
        number, "sensitivity": [one at each number of false positives], "mean": their mean}``; NaN without lesions.
    """
    typed = typed_froc(boxes, iou_threshold)
    anyhow = typed_froc(boxes, iou_threshold, same_label=False)
    by_type = {str(label): typed.subset(boxes.true_label == label) for label in range(1, num_classes + 1)}
    by_size = froc_by_size(anyhow, sizes_mm, size_edges_mm)
    return {
        "all": {"typed": _at(typed, false_positives), "untyped": _at(anyhow, false_positives)},
        "by_type": {name: _at(curve, false_positives) for name, curve in by_type.items()},
        "by_size": {name: _at(curve, false_positives) for name, curve in by_size.items()},
    }


def _at(curve: FrocCurve, false_positives: Sequence[float]) -> dict[str, Any]:
    values = curve.sensitivity_at(false_positives) if curve.n_truth else np.full(len(false_positives), np.nan)
    return {"lesions": curve.n_truth, "sensitivity": values.tolist(), "mean": float(values.mean())}


def _row(values: np.ndarray, total: int) -> SizeRatios:
    if not len(values):
        return SizeRatios(0.0 if total else float("nan"), *[float("nan")] * 4)
    found = (len(values) / total, values.mean(), np.median(values), values.min(), values.max())
    return SizeRatios(*(float(v) for v in found))


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
