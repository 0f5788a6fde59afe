"""Anchor sizes from the boxes of a data set: k-means where near means a high IoU.

YOLO9000 (Redmon & Farhadi, arXiv 1612.08242, section 2, "Dimension clusters"): with boxes and anchors around one
centre, the distance of a box to an anchor is 1 - IoU, so that small boxes count as much as large ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Rounds without a better mean IoU after which a beginning is given up.
_PATIENCE = 10


@dataclass(frozen=True)
class AnchorClusters:
    """Anchors and how well they cover the boxes they were made from.

    Args:
        anchors: ``[K, 2]`` float64 (width, height), by rising area.
        mean_iou: mean over the boxes of the IoU with the best anchor.
        members: ``[K]`` int64, boxes nearest to each anchor.
    """

    anchors: np.ndarray
    mean_iou: float
    members: np.ndarray


def shape_iou(sides: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """IoU of every box with every anchor around one centre.

    Args:
        sides: ``[N, 2]`` (width, height) of the boxes, positive, any one unit.
        anchors: ``[K, 2]``, likewise.

    Returns:
        ``[N, K]`` float64, above 0, at most 1.
    """
    sides, anchors = np.asarray(sides, dtype=np.float64), np.asarray(anchors, dtype=np.float64)
    common = np.minimum(sides[:, None, 0], anchors[:, 0]) * np.minimum(sides[:, None, 1], anchors[:, 1])
    return common / (sides.prod(axis=1)[:, None] + anchors.prod(axis=1) - common)


def cluster_anchors(
    sides: np.ndarray, count: int, *, seed: int = 0, restarts: int = 10, max_iterations: int = 300
) -> AnchorClusters:
    """Find ``count`` anchors by k-means with the distance 1 - IoU, seeded as k-means++.

    A cluster's anchor is the mean width and height of its boxes. That need not raise the mean IoU, so the best anchors
    of all rounds and restarts are returned.

    Args:
        sides: ``[N, 2]`` (width, height) of the boxes, positive, px of the grid the anchors are for.
        count: K, at most the number of different boxes.
        seed: of the draws; equal arguments give equal anchors.
        restarts: independent beginnings.
        max_iterations: rounds of one beginning at most.

    Raises:
        ValueError: for sides that are not positive ``[N, 2]``, or fewer different boxes than anchors.
    """
    sides = np.asarray(sides, dtype=np.float64)
    if sides.ndim != 2 or sides.shape[1] != 2 or not (np.isfinite(sides).all() and (sides > 0).all()):
        raise ValueError(f"sides must be [N, 2] finite and positive, got shape {list(sides.shape)}")
    # Equal boxes are looked at once and weighed by their number.
    shapes, weight = np.unique(sides, axis=0, return_counts=True)
    if count < 1 or restarts < 1 or len(shapes) < count:
        raise ValueError(f"count and restarts must be positive and count at most {len(shapes)}, got {count}")
    rng = np.random.default_rng(seed)
    best, best_iou = shapes[:count], -1.0
    for _ in range(restarts):
        overlap = shape_iou(shapes, _begin(shapes, weight, count, rng))
        nearest = overlap.argmax(axis=1)
        own_best, stalled = -1.0, 0
        for _ in range(max_iterations):
            anchors = _means(shapes, weight, nearest, overlap, count)
            overlap = shape_iou(shapes, anchors)
            mean_iou = float(np.average(overlap.max(axis=1), weights=weight))
            if mean_iou > best_iou:
                best, best_iou = anchors, mean_iou
            stalled = 0 if mean_iou > own_best else stalled + 1
            own_best = max(own_best, mean_iou)
            before, nearest = nearest, overlap.argmax(axis=1)
            if stalled == _PATIENCE or np.array_equal(nearest, before):
                break
    best = best[np.lexsort((best[:, 0], best.prod(axis=1)))]
    members = np.bincount(shape_iou(shapes, best).argmax(axis=1), weights=weight, minlength=count)
    return AnchorClusters(best, best_iou, members.astype(np.int64))


def _begin(shapes: np.ndarray, weight: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++ (Arthur & Vassilvitskii, 2007): each next anchor is drawn by its squared distance to those before."""
    chosen = [int(rng.choice(len(shapes), p=weight / weight.sum()))]
    distance = np.full(len(shapes), np.inf)
    for _ in range(count - 1):
        distance = np.minimum(distance, 1 - shape_iou(shapes, shapes[chosen[-1:]])[:, 0])
        chance = weight * distance.clip(min=0) ** 2
        chance[chosen] = 0.0
        chosen.append(int(rng.choice(len(shapes), p=chance / chance.sum())))
    return shapes[chosen]


def _means(shapes: np.ndarray, weight: np.ndarray, nearest: np.ndarray, overlap: np.ndarray, count: int) -> np.ndarray:
    """Mean sides of each cluster; an empty one moves to the box that is covered worst."""
    total = np.bincount(nearest, weights=weight, minlength=count)
    sums = [np.bincount(nearest, weights=weight * shapes[:, axis], minlength=count) for axis in (0, 1)]
    means = np.stack(sums, axis=1) / np.maximum(total, 1)[:, None]
    empty = np.flatnonzero(total == 0)
    means[empty] = shapes[np.argsort(overlap.max(axis=1), kind="stable")[: len(empty)]]
    return means
