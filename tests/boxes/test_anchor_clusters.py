from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from lesion_app.boxes.anchor_clusters import cluster_anchors, shape_iou


def slow_shape_iou(a: np.ndarray, b: np.ndarray) -> float:
    common = min(a[0], b[0]) * min(a[1], b[1])
    return common / (a[0] * a[1] + b[0] * b[1] - common)


def slow_mean_iou(sides: np.ndarray, anchors: np.ndarray) -> float:
    return float(np.mean([max(slow_shape_iou(s, a) for a in anchors) for s in sides]))


def best_of_all_partitions(sides: np.ndarray, count: int) -> float:
    """Mean IoU of the best anchors that are the means of any partition whose members lie nearest to their own."""
    best = 0.0
    for labels in product(range(count), repeat=len(sides)):
        if len(set(labels)) == count:
            groups = np.array(labels)
            anchors = np.stack([sides[groups == k].mean(axis=0) for k in range(count)])
            nearest = shape_iou(sides, anchors).argmax(axis=1)
            if np.array_equal(nearest, groups):
                best = max(best, slow_mean_iou(sides, anchors))
    return best


def boxes(count: int, seed: int = 0) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(3, 0.5, (count, 2))).round(1)


def test_shape_iou_by_hand() -> None:
    found = shape_iou(np.array([[10, 20], [4, 4]]), np.array([[20, 10], [10, 20], [8, 2]]))
    assert found.tolist() == [[100 / 300, 1.0, 16 / 200], [16 / 200, 16 / 200, 8 / 24]]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_partition_is_better(count: int, seed: int) -> None:
    sides = boxes(7, seed)
    found = cluster_anchors(sides, count, restarts=30)
    assert found.mean_iou >= best_of_all_partitions(sides, count) - 1e-12
    assert found.mean_iou == pytest.approx(slow_mean_iou(sides, found.anchors))


def test_clear_clusters_are_found() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[8, 8], [20, 12], [12, 30], [60, 50]])
    sides = np.concatenate([c * (1 + rng.uniform(-0.05, 0.05, (50, 2))) for c in centres])
    found = cluster_anchors(sides, 4)
    np.testing.assert_allclose(found.anchors, centres, rtol=0.03)
    assert found.members.tolist() == [50, 50, 50, 50]
    assert found.mean_iou > 0.93


def test_small_boxes_count_as_much_as_large_ones() -> None:
    """Of 2 x 2, 4 x 4 and 100 x 100, 102 x 102, plain k-means with three means would part the large ones."""
    sides = np.array([[2.0, 2], [4, 4], [100, 100], [104, 104]])
    assert cluster_anchors(sides, 3).anchors.tolist() == [[2, 2], [4, 4], [102, 102]]


def test_anchors_rise_in_area_and_repeat_bit_for_bit() -> None:
    sides = boxes(300)
    first, second = cluster_anchors(sides, 9, seed=3), cluster_anchors(sides.copy(), 9, seed=3)
    assert np.array_equal(first.anchors, second.anchors)
    assert (np.diff(first.anchors.prod(axis=1)) > 0).all()
    assert first.members.sum() == 300
    assert not np.array_equal(cluster_anchors(sides, 9, seed=4, restarts=1).anchors, first.anchors)


def test_more_anchors_cover_better_and_one_each_covers_fully() -> None:
    sides = boxes(12)
    covered = [cluster_anchors(sides, k).mean_iou for k in (1, 3, 6, 12)]
    assert covered == sorted(covered)
    assert covered[-1] == 1.0


def test_repeated_boxes_weigh_by_their_number() -> None:
    few = np.array([[10.0, 10], [14, 14]])
    many = np.repeat(few, [9, 1], axis=0)
    assert cluster_anchors(few, 1).anchors.tolist() == [[12, 12]]
    found = cluster_anchors(many, 1)
    assert abs(found.anchors[0, 0] - 10) < 0.5
    assert found.members.tolist() == [10]


@pytest.mark.parametrize(
    ("sides", "count"),
    [
        (np.ones((3, 3)), 1),
        (np.array([[1.0, 0.0]]), 1),
        (np.array([[1.0, np.nan]]), 1),
        (np.ones((5, 2)), 2),
        (np.ones((5, 2)), 0),
        (np.zeros((0, 2)), 1),
    ],
)
def test_what_cannot_be_clustered_is_refused(sides: np.ndarray, count: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        cluster_anchors(sides, count)
