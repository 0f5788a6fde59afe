"""From the chain number of every detection to tracklets."""

from __future__ import annotations

import numpy as np

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.tracking.detections import DetectionTable


def tracklets_from_chains(
    table: DetectionTable, chains: np.ndarray, min_hits: int = 1, fill_gaps: bool = False
) -> list[Tracklet]:
    """Make one tracklet of each chain of detections.

    Args:
        table: detections of a volume.
        chains: ``[N]`` int64, the chain each detection belongs to; at most one of a chain on a slice.
        min_hits: chains of fewer detections are dropped.
        fill_gaps: give a slice that a chain skips the box halfway (linear in z) between its neighbours in the chain,
            and the lower of their scores, so that filling never changes a lesion's score.

    Returns:
        Tracklets of falling score; equals by first slice, then its box, then label.
    """
    order = np.lexsort((table.slices, chains))
    order = order[np.bincount(chains)[chains[order]] >= min_hits] if len(order) else order
    chain, z = chains[order], table.slices[order]
    boxes, scores, labels = table.boxes[order], table.scores[order], table.labels[order]
    if fill_gaps and len(order):
        chain, z, boxes, scores, labels = _filled(chain, z, boxes, scores, labels)
    if not len(chain):
        return []

    starts = np.flatnonzero(np.r_[True, chain[1:] != chain[:-1]])
    stops = np.r_[starts[1:], len(chain)]
    best = np.maximum.reduceat(scores, starts)
    ranked = np.lexsort((labels[starts], *boxes[starts].T[::-1], z[starts], -best))
    z_list, box_list, score_list = z.tolist(), [tuple(box) for box in boxes.tolist()], scores.tolist()
    return [
        Tracklet(tuple(z_list[i:j]), tuple(box_list[i:j]), tuple(score_list[i:j]), int(labels[i]))
        for i, j in zip(starts[ranked].tolist(), stops[ranked].tolist())
    ]


def _filled(
    chain: np.ndarray, z: np.ndarray, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Insert interpolated rows where consecutive rows of a chain lie more than one slice apart."""
    missing = np.where(chain[1:] == chain[:-1], z[1:] - z[:-1] - 1, 0)
    before = np.repeat(np.arange(len(missing)), missing)
    step = 1 + np.arange(len(before)) - np.repeat(np.cumsum(missing) - missing, missing)
    weight = (step / (missing[before] + 1))[:, None]
    filled = (
        np.r_[chain, chain[before]],
        np.r_[z, z[before] + step],
        np.r_[boxes, (1 - weight) * boxes[before] + weight * boxes[before + 1]],
        np.r_[scores, np.minimum(scores[before], scores[before + 1])],
        np.r_[labels, labels[before]],
    )
    order = np.lexsort((filled[1], filled[0]))
    return filled[0][order], filled[1][order], filled[2][order], filled[3][order], filled[4][order]
