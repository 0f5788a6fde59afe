"""LENS's protocol: 3D boxes judged by how much of them lies in a true 3D box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike

from lesion_app.boxes.overlap import OverlapKind, paired_overlap
from lesion_app.boxes.tracklet import Tracklet
from lesion_app.metrics.flat_tracklets import check_known_volumes, flatten_tracklets
from lesion_app.metrics.froc import FrocCurve, froc_curve
from lesion_app.metrics.joining import pairs_with_equal_keys


def evaluate_boxes_3d(
    truth: Mapping[str, ArrayLike],
    detections: Mapping[str, ArrayLike],
    threshold: float = 0.3,
    kind: OverlapKind = "iobb",
) -> FrocCurve:
    """FROC of 3D boxes against completely annotated 3D boxes (Yan et al., LENS, TMI 2021, section V).

    A box hits every true box with which its overlap is >= ``threshold`` (the published program; the paper writes >).
    It may hit several; a repeated hit is neither a true nor a false positive. Half-open boxes give the program's
    inclusive voxel counts: its ``(x1, y1, z1, x2, y2, z2)`` is ``(x1, y1, z1, x2 + 1, y2 + 1, z2 + 1)`` here.

    Args:
        truth: for every evaluated volume, also the empty ones, its boxes ``[n, 6]`` in voxels, half-open.
        detections: for each volume ``[m, 7]``, the box on the same grid and its score; a volume may be missing.
        threshold: smallest overlap of a hit.
        kind: the measure of overlap; ``iobb`` divides by the detected box.

    Returns:
        The curve, read with LENS's interpolation; its hits follow ``truth``, volume after volume.

    Raises:
        ValueError: when ``detections`` has a volume that ``truth`` has not, or a table's width is wrong.
    """
    check_known_volumes(truth, detections)
    true_boxes = [_table(boxes, 6) for boxes in truth.values()]
    found = [_table(detections.get(volume, ()), 7) for volume in truth]
    true_table, table = np.concatenate([np.empty((0, 6)), *true_boxes]), np.concatenate([np.empty((0, 7)), *found])
    volumes = np.arange(len(truth))
    detection, lesion = pairs_with_equal_keys(
        np.repeat(volumes, [len(boxes) for boxes in found]), np.repeat(volumes, [len(boxes) for boxes in true_boxes])
    )
    overlap = paired_overlap(torch.from_numpy(table[detection, :6]), torch.from_numpy(true_table[lesion]), kind).numpy()
    hit = overlap >= threshold
    return froc_curve(table[:, 6], detection[hit], lesion[hit], len(true_table), len(truth), interpolation="lens")


def evaluate_iobb_3d(
    truth: Mapping[str, ArrayLike],
    lesions: Mapping[str, Sequence[Tracklet]],
    threshold: float = 0.3,
    kind: OverlapKind = "iobb",
) -> FrocCurve:
    """``evaluate_boxes_3d`` for tracked lesions: their score-weighted 3D boxes and highest scores.

    Args:
        truth: for every evaluated volume, also the empty ones, its boxes ``[n, 6]`` in voxels, half-open.
        lesions: for each volume its detected lesions on the same grid; a volume may be missing.
        threshold, kind: as in ``evaluate_boxes_3d``.

    Raises:
        ValueError: when ``lesions`` has a volume that ``truth`` has not, or a table's width is wrong.
    """
    found = flatten_tracklets(truth, lesions)
    fused = found.score_weighted_boxes
    boxes = np.column_stack([fused[:, :2], found.first_slice, fused[:, 2:], found.last_slice + 1, found.scores])
    per_volume = np.split(boxes, np.searchsorted(found.volume, np.arange(1, len(truth))))
    return evaluate_boxes_3d(truth, dict(zip(truth, per_volume)), threshold, kind)


def _table(rows: ArrayLike, columns: int) -> np.ndarray:
    table = np.asarray(rows, dtype=np.float64)
    if table.size == 0:
        return np.empty((0, columns))
    if table.ndim != 2 or table.shape[1] != columns:
        raise ValueError(f"expected a table of {columns} columns, got shape {list(table.shape)}")
    return table
