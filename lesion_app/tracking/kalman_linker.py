"""Linking the 2D detections of a volume into lesions with a Kalman tracker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from lesion_app.boxes.overlap import box_iou
from lesion_app.boxes.tracklet import Tracklet
from lesion_app.tracking.chains import tracklets_from_chains
from lesion_app.tracking.detections import collect_detections
from lesion_app.tracking.kalman import ConstantVelocityKalman


class KalmanLinker:
    """Track 2D boxes from the first slice to the last and call every track a lesion.

    On each slice the live tracks' predicted boxes are matched one to one with the detections of the same label so
    that the sum of the IoUs is largest, over pairs that reach ``iou_threshold``; a detection left over starts a track.
    A lesion holds the boxes as detected, not the filter's smoothed ones. The rules are SORT's (Bewley et al., ICIP
    2016), written anew; `docs/tracking.md` argues the defaults. Lesion Harvester and Bai & Xia name "a Kalman filter"
    and publish no parameters.

    Args:
        iou_threshold: a predicted and a detected box may be matched from this IoU on, in (0, 1].
        max_gap: a track survives this many slices in a row without a detection (SORT's ``max_age``).
        min_hits: lesions detected on fewer slices are dropped; 1 keeps lesions of one slice.
        min_score: detections below it take no part.
        fill_gaps: give the slices bridged by ``max_gap`` an interpolated box with the lower of the neighbours' scores.
        measurement_variance, process_variance, initial_variance: of the filter, see ``ConstantVelocityKalman``.

    Raises:
        ValueError: when an argument is out of its range.
    """

    def __init__(
        self,
        iou_threshold: float = 0.3,
        max_gap: int = 1,
        min_hits: int = 1,
        min_score: float = 0.0,
        fill_gaps: bool = True,
        measurement_variance: Sequence[float] = (1.0, 1.0, 10.0, 10.0),
        process_variance: Sequence[float] = (1.0, 1.0, 1.0, 1.0, 0.01, 0.01, 0.0001),
        initial_variance: Sequence[float] = (10.0, 10.0, 10.0, 10.0, 10000.0, 10000.0, 10000.0),
    ) -> None:
        if not 0 < iou_threshold <= 1:
            raise ValueError(f"iou_threshold must lie in (0, 1], got {iou_threshold}")
        if max_gap < 0 or min_hits < 1:
            raise ValueError(f"max_gap must be >= 0 and min_hits >= 1, got {max_gap} and {min_hits}")
        self.iou_threshold = iou_threshold
        self.max_gap = max_gap
        self.min_hits = min_hits
        self.min_score = min_score
        self.fill_gaps = fill_gaps
        self.kalman = ConstantVelocityKalman(measurement_variance, process_variance, initial_variance)

    def __call__(self, detections: Sequence[Mapping[str, Any]]) -> list[Tracklet]:
        """Link the detections of one volume.

        Args:
            detections: one mapping a slice in z order, the index being the slice: ``boxes`` ``[N, 4]`` px half-open,
                ``scores`` ``[N]``, optionally ``labels`` ``[N]``; tensors or arrays. The order within a slice does
                not matter.

        Returns:
            Lesions of falling score, slices and pixels on the grid of the input.

        Raises:
            ValueError: when the shapes on a slice disagree or a number is not finite.
        """
        table = collect_detections(detections, self.min_score)
        chains = np.full(len(table), -1, dtype=np.int64)
        state, covariance = self.kalman.start(np.empty((0, 4)))
        track, label, missed = np.empty((3, 0), dtype=np.int64)
        n_tracks = 0
        for z in range(table.n_slices):
            rows = table.on_slice(z)
            boxes, labels = table.boxes[rows], table.labels[rows]
            state, covariance = self.kalman.predict(state, covariance)
            iou = box_iou(torch.from_numpy(self.kalman.boxes(state)), torch.from_numpy(boxes)).numpy()
            iou[label[:, None] != labels[None]] = 0.0
            seen, found = _assign(iou, self.iou_threshold)
            state[seen], covariance[seen] = self.kalman.update(state[seen], covariance[seen], boxes[found])
            missed += 1
            missed[seen] = 0

            new = np.setdiff1d(np.arange(len(boxes)), found)
            new_tracks = np.arange(n_tracks, n_tracks + len(new))
            chains[rows.start + found], chains[rows.start + new] = track[seen], new_tracks
            n_tracks += len(new)
            new_state, new_covariance = self.kalman.start(boxes[new])
            alive = missed <= self.max_gap
            state = np.concatenate([state[alive], new_state])
            covariance = np.concatenate([covariance[alive], new_covariance])
            track = np.concatenate([track[alive], new_tracks])
            label = np.concatenate([label[alive], labels[new]])
            missed = np.concatenate([missed[alive], np.zeros(len(new), dtype=np.int64)])
        return tracklets_from_chains(table, chains, self.min_hits, self.fill_gaps)


def _assign(iou: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the one-to-one matching of largest IoU sum among the pairs that reach ``threshold``.

    SORT matches first and rejects afterwards; there a pair that is then rejected can have taken a box away from one
    that would have stood, so here the threshold comes first.
    """
    gated = np.where(iou >= threshold, iou, 0.0)
    linked = gated > 0
    # Pairs that compete with no other are settled at once: nearly all of them, and Hungarian is cubic.
    alone = linked & (linked.sum(axis=1, keepdims=True) == 1) & (linked.sum(axis=0, keepdims=True) == 1)
    row, column = np.nonzero(alone)
    contested = linked & ~alone
    rows, columns = np.flatnonzero(contested.any(axis=1)), np.flatnonzero(contested.any(axis=0))
    r, c = linear_sum_assignment(gated[np.ix_(rows, columns)], maximize=True)
    r, c = rows[r], columns[c]
    accepted = linked[r, c]
    return np.concatenate([row, r[accepted]]), np.concatenate([column, c[accepted]])
