"""The published P3D evaluation, rule by rule: the peers of the vectorised one, in numpy and in plain Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lesion_app.boxes.tracklet import Box2D, Tracklet


def plain_p3d(
    truth: Mapping[str, Sequence[tuple[int, Box2D]]],
    lesions: Mapping[str, Sequence[Tracklet]],
    iou_threshold: float = 0.5,
) -> dict[str, Any]:
    """Counts after every tracklet by falling score, as Lesion Harvester's ``evaluation.py`` (05356cc) defines them.

    A tracklet hits a mark when it has a box on exactly that slice with IoU >= ``iou_threshold``. The first hit of a
    mark is a true positive, a further one a false positive of average precision but not of FROC, a tracklet without
    any hit a false positive of both.

    Returns:
        ``average_precision`` and the lists ``true_positives``, ``false_positives_froc``.
    """
    ranked = sorted(((volume, t) for volume in truth for t in lesions.get(volume, ())), key=lambda item: -item[1].score)

    def overlapping(volume: str, tracklet: Tracklet) -> list[int]:
        found = []
        for number, (z, box) in enumerate(truth[volume]):
            if z in tracklet.slices and iou(box, tracklet.boxes[tracklet.slices.index(z)]) >= iou_threshold:
                found.append(number)
        return found

    return counted(ranked, overlapping, sum(len(m) for m in truth.values()))


def numpy_p3d(
    truth: Mapping[str, np.ndarray], lesions: Mapping[str, Sequence[np.ndarray]], iou_threshold: float = 0.5
) -> dict[str, Any]:
    """The same with arrays, tracklet by tracklet, as such programs are commonly written.

    Args:
        truth: for each volume ``[G, 5]`` (slice, x1, y1, x2, y2).
        lesions: for each volume tracklets ``[S, 6]`` (slice, x1, y1, x2, y2, score).
    """
    ranked = [(volume, tracklet) for volume in truth for tracklet in lesions.get(volume, ())]
    scores = np.array([tracklet[:, 5].max() for _, tracklet in ranked])
    ranked = [ranked[i] for i in np.argsort(-scores, kind="stable")]

    def overlapping(volume: str, tracklet: np.ndarray) -> list[int]:
        marks = truth[volume]
        best = np.zeros(len(marks))
        for z, *box in tracklet[:, :5]:
            here = np.flatnonzero(marks[:, 0] == z)
            if len(here):
                best[here] = row_iou(np.array(box), marks[here, 1:])
        return np.flatnonzero(best >= iou_threshold).tolist()

    return counted(ranked, overlapping, sum(len(m) for m in truth.values()))


def row_iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of one box with several ``[N, 4]``."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    inter = np.prod(np.maximum(high - low, 0), axis=1)
    area_of_all = np.prod(others[:, 2:] - others[:, :2], axis=1)
    return inter / (np.prod(box[2:] - box[:2]) + area_of_all - inter)


def counted(
    ranked: Sequence[tuple[str, Any]], overlapping: Callable[[str, Any], list[int]], marks: int
) -> dict[str, Any]:
    """The counting, over tracklets by falling score."""
    hit: set[tuple[str, int]] = set()
    tp = fp_ap = fp_froc = 0
    true, false, precision, recall = [], [], [], []
    for volume, tracklet in ranked:
        found = overlapping(volume, tracklet)
        if not found:
            fp_ap, fp_froc = fp_ap + 1, fp_froc + 1
        for number in found:
            if (volume, number) in hit:
                fp_ap += 1
            else:
                hit.add((volume, number))
                tp += 1
        true.append(tp)
        false.append(fp_froc)
        precision.append(tp / max(tp + fp_ap, 1))
        recall.append(tp / marks)
    return {"average_precision": area(precision, recall), "true_positives": true, "false_positives_froc": false}


def area(precision: list[float], recall: list[float]) -> float:
    """Area under the precision envelope over recall (Pascal VOC from 2010 on)."""
    p, r = [0.0, *precision, 0.0], [0.0, *recall, 1.0]
    for i in range(len(p) - 1, 0, -1):
        p[i - 1] = max(p[i - 1], p[i])
    return sum((r[i + 1] - r[i]) * p[i + 1] for i in range(len(r) - 1) if r[i + 1] != r[i])


def iou(a: Box2D, b: Box2D) -> float:
    """Of two boxes (x1, y1, x2, y2)."""
    inter = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)
