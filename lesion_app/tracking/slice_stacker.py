"""LENS's linking: stack boxes of consecutive slices that overlap enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lesion_app.boxes.overlap import box_iou
from lesion_app.boxes.tracklet import Tracklet
from lesion_app.tracking.chains import tracklets_from_chains
from lesion_app.tracking.detections import collect_detections


class SliceStacker:
    """Stack 2D boxes to 3D where two boxes of consecutive slices have an IoU greater than ``iou_threshold``.

    LENS (Yan et al., "Learning from multiple datasets with heterogeneous and partial labels for universal lesion
    detection in CT", TMI 2021), section IV-C, theta = 0.5; ``Tracklet.score_weighted_box`` is its 3D box. The paper
    leaves open what happens when several boxes qualify. Here the pair of largest IoU is joined first and each box has
    at most one partner on either side; of equal pairs, the one whose box on the earlier slice comes first (higher
    score, then label, then coordinates), then likewise on the later slice.

    Args:
        iou_threshold: pairs must be strictly above it, in [0, 1).
        min_hits: lesions on fewer slices are dropped; 1 keeps lesions of one slice.
        min_score: detections below it take no part.

    Raises:
        ValueError: when an argument is out of its range.
    """

    def __init__(self, iou_threshold: float = 0.5, min_hits: int = 1, min_score: float = 0.0) -> None:
        if not 0 <= iou_threshold < 1:
            raise ValueError(f"iou_threshold must lie in [0, 1), got {iou_threshold}")
        if min_hits < 1:
            raise ValueError(f"min_hits must be >= 1, got {min_hits}")
        self.iou_threshold = iou_threshold
        self.min_hits = min_hits
        self.min_score = min_score

    def __call__(self, detections: Sequence[Mapping[str, Any]]) -> list[Tracklet]:
        """Link the detections of one volume; input, output and errors as in ``KalmanLinker``."""
        table = collect_detections(detections, self.min_score)
        chains = np.arange(len(table))
        for z in range(1, table.n_slices):
            before, here = table.on_slice(z - 1), table.on_slice(z)
            iou = box_iou(torch.from_numpy(table.boxes[before]), torch.from_numpy(table.boxes[here])).numpy()
            iou[table.labels[before][:, None] != table.labels[here][None]] = 0.0
            previous, found = _join_greedily(iou, self.iou_threshold)
            chains[here.start + found] = chains[before.start + previous]
        return tracklets_from_chains(table, chains, self.min_hits)


def _join_greedily(iou: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pairs above ``threshold``, taken by falling IoU, no row or column twice."""
    row, column = np.nonzero(iou > threshold)
    order = np.argsort(-iou[row, column], kind="stable")
    free_row, free_column = np.ones(iou.shape[0], dtype=bool), np.ones(iou.shape[1], dtype=bool)
    rows, columns = [], []
    for r, c in zip(row[order].tolist(), column[order].tolist()):
        if free_row[r] and free_column[c]:
            free_row[r] = free_column[c] = False
            rows.append(r)
            columns.append(c)
    return np.asarray(rows, dtype=np.int64), np.asarray(columns, dtype=np.int64)
