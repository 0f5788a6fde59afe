"""The pseudo-3D (P3D) protocol: 3D lesions judged on the key slices of RECIST annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch

from lesion_app.boxes.overlap import paired_overlap
from lesion_app.boxes.tracklet import Box2D, Tracklet
from lesion_app.metrics.flat_tracklets import FlatTracklets, flatten_tracklets
from lesion_app.metrics.froc import FrocCurve, froc_curve
from lesion_app.metrics.joining import pairs_with_equal_keys

P3DProtocol = Literal["lesion_harvester", "lens"]


def evaluate_p3d(
    truth: Mapping[str, Sequence[tuple[int, Box2D]]],
    lesions: Mapping[str, Sequence[Tracklet]],
    iou_threshold: float = 0.5,
    protocol: P3DProtocol = "lesion_harvester",
) -> FrocCurve:
    """Average precision and FROC by P3D IoU.

    ``lesion_harvester`` (Cai et al., "Lesion Harvester", TMI 2021, ``evaluation.py`` at 05356cc; also Bai & Xia's
    metric): a lesion hits a true box when it has a box on exactly that slice with a 2D IoU >= ``iou_threshold``; its
    score is the highest of its slices. One lesion can hit several true boxes; hitting one again is a false positive
    for average precision, not for FROC. ``lens`` (Yan et al., TMI 2021, ``dim='P3D'``): the lesion has one box, the
    score-weighted mean, on all slices from its first to its last, repeated hits never count, and the curve is read
    with LENS's interpolation.

    Equal scores keep the order of ``truth``'s volumes and of the lesions within a volume (the published program's
    order among equals is undefined).

    Args:
        truth: for every evaluated volume, also the empty ones, its ``(slice, box)``; px, half-open, 0-based.
        lesions: for each volume its detected lesions on the same grid; a volume may be missing.
        iou_threshold: smallest IoU of a hit.
        protocol: which of the two.

    Returns:
        The curve; its ``hit_rank`` and ``hit_scores`` follow ``truth``, volume after volume.

    Raises:
        ValueError: when ``lesions`` has a volume that ``truth`` has not, or ``protocol`` is unknown.
    """
    if protocol not in get_args(P3DProtocol):
        raise ValueError(f"unknown protocol {protocol!r}, expected one of {', '.join(get_args(P3DProtocol))}")
    found = flatten_tracklets(truth, lesions)
    volume = np.repeat(np.arange(len(truth)), [len(marks) for marks in truth.values()])
    marks = [mark for volume_marks in truth.values() for mark in volume_marks]
    z = np.array([int(mark[0]) for mark in marks], dtype=np.int64)
    boxes = np.array([mark[1] for mark in marks], dtype=np.float64).reshape(-1, 4)
    pairs = _on_same_slice if protocol == "lesion_harvester" else _within_slice_range
    lesion, candidate_boxes, mark = pairs(found, volume, z)
    iou = paired_overlap(torch.from_numpy(candidate_boxes), torch.from_numpy(boxes[mark]), "iou").numpy()
    hit = iou >= iou_threshold
    return froc_curve(
        found.scores,
        lesion[hit],
        mark[hit],
        n_truth=len(marks),
        n_volumes=len(truth),
        repeats_are_false=protocol == "lesion_harvester",
        interpolation=protocol,
    )


def _on_same_slice(
    found: FlatTracklets, volume: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lesion, its box on the slice, and true mark, for all that share a slice of a volume."""
    lowest = min(found.slices.min(initial=0), z.min(initial=0))
    n_slices = max(found.slices.max(initial=0), z.max(initial=0)) - lowest + 1
    row, mark = pairs_with_equal_keys(
        found.volume[found.owner] * n_slices + found.slices - lowest, volume * n_slices + z - lowest
    )
    return found.owner[row], found.boxes_at(row), mark


def _within_slice_range(
    found: FlatTracklets, volume: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lesion, its fused box, and true mark, for all marks between a lesion's first and last slice."""
    lesion, mark = pairs_with_equal_keys(found.volume, volume)
    inside = (found.first_slice[lesion] <= z[mark]) & (z[mark] <= found.last_slice[lesion])
    lesion, mark = lesion[inside], mark[inside]
    return lesion, found.score_weighted_boxes[lesion], mark
