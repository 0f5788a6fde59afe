"""LENS's first mining strategy: a lesion marked on one slice is found again on the slices around it.

Yan et al., "Learning from multiple datasets with heterogeneous and partial labels for universal lesion detection in
CT", IEEE TMI 40(10), 2021, section V-A, with theta = 0.5 (section VI-B).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lesion_app.boxes.overlap import box_iou
from lesion_app.boxes.tracklet import Box2D, Tracklet


@dataclass(frozen=True)
class PropagatedBox:
    """A mined annotation: where it is, its score, the tracklet it comes from and the annotation it belongs to."""

    slice: int
    box: Box2D
    score: float
    tracklet: int
    annotation: int


def key_slice_iou(tracklets: Sequence[Tracklet], slices: ArrayLike, boxes: ArrayLike) -> NDArray[np.float64]:
    """The paper's "key-slice IoU" of every tracklet with every annotation.

    It is the IoU of the annotation with the tracklet's box on the annotation's slice; 0 where the tracklet has none
    there. The paper also calls a 3D proposal a true positive by it (section VI-B).

    Args:
        tracklets: of one sub-volume, groups of boxes on adjacent slices whose IoU is larger than theta
            (``lesion_app.tracking.slice_stacker.SliceStacker`` makes them), T of them.
        slices: [A] whole numbers, the annotations' slices, counted as the tracklets count them.
        boxes: [A, 4] (x1, y1, x2, y2) px, half-open.

    Returns:
        [T, A], 0..1.

    Raises:
        ValueError: as many slices as boxes are expected.
    """
    on = np.asarray(slices, dtype=np.int64).reshape(-1)
    marks = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    if len(on) != len(marks):
        raise ValueError(f"expected one slice a box, got {len(on)} slices and {len(marks)} boxes")
    found = np.zeros((len(tracklets), len(marks)))
    if not found.size:
        return found
    owner = np.repeat(np.arange(len(tracklets)), [len(t.slices) for t in tracklets])
    at = np.concatenate([t.slices for t in tracklets])
    own = np.concatenate([np.asarray(t.boxes, dtype=np.float64) for t in tracklets])
    # Only rows on a slice with a mark are compared: a volume has far more boxes than marked slices.
    rows = np.flatnonzero(np.isin(at, on))
    iou = box_iou(torch.from_numpy(own[rows]), torch.from_numpy(marks)).numpy()
    iou[at[rows][:, None] != on[None]] = 0.0
    np.maximum.at(found, owner[rows], iou)
    return found


def propagate_across_slices(
    tracklets: Sequence[Tracklet], slices: ArrayLike, boxes: ArrayLike, theta: float = 0.5
) -> list[PropagatedBox]:
    """Mine the boxes of annotated lesions on the slices where nobody annotated them.

    A tracklet whose key-slice IoU with an annotation is > theta is that lesion; its boxes on the other slices are the
    mined ones. What the paper leaves open: a tracklet that meets several annotations belongs to the one of largest
    IoU (the first of equals), and of its boxes those that lie on an annotation of their own slice (IoU > theta) are
    annotated and not mined.

    Args:
        tracklets, slices, boxes: as in `key_slice_iou`.
        theta: overlap, in [0, 1); strictly above counts.

    Returns:
        mined boxes by tracklet, then slice; ``tracklet`` and ``annotation`` index the arguments.

    Raises:
        ValueError: theta out of range, or as in `key_slice_iou`.
    """
    if not 0 <= theta < 1:
        raise ValueError(f"theta must lie in [0, 1), got {theta}")
    iou = key_slice_iou(tracklets, slices, boxes)
    if not iou.size:
        return []
    on = np.asarray(slices, dtype=np.int64).reshape(-1)
    marks = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    mined = []
    for t in np.flatnonzero((iou > theta).any(axis=1)).tolist():
        tracklet, annotation = tracklets[t], int(iou[t].argmax())
        known = box_iou(torch.tensor(tracklet.boxes, dtype=torch.float64), torch.from_numpy(marks)).numpy()
        known[np.asarray(tracklet.slices)[:, None] != on[None]] = 0.0
        for place in np.flatnonzero((known <= theta).all(axis=1)).tolist():
            mined.append(
                PropagatedBox(tracklet.slices[place], tracklet.boxes[place], tracklet.scores[place], t, annotation)
            )
    return mined
