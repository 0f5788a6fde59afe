"""One object, many views: the worked example, a slow reference, and what must not play a part."""

from __future__ import annotations

import math

import pytest
import torch

from lesion_app.inferers.weighted_box_clustering import (
    cluster_boxes,
    cluster_mean,
    patch_centre_weights,
    weighted_box_clustering,
)


def slow_iou(a: list[float], b: list[float]) -> float:
    half = len(a) // 2
    overlap = size_a = size_b = 1.0
    for d in range(half):
        overlap *= max(0.0, min(a[d + half], b[d + half]) - max(a[d], b[d]))
        size_a *= a[d + half] - a[d]
        size_b *= b[d + half] - b[d]
    return overlap / (size_a + size_b - overlap)


def slow_clustering(boxes, scores, labels, patch, threshold, expected, members, min_score=0.01):
    """Box by box, as the rules read."""
    found = []
    left = sorted(range(len(boxes)), key=lambda i: -scores[i])
    while left:
        top = left[0]
        cluster = [
            i for i in left if labels[i] == labels[top] and (i == top or slow_iou(boxes[top], boxes[i]) > threshold)
        ]
        left = [i for i in left if i not in cluster]
        weights = []
        for i in cluster:
            half = len(boxes[i]) // 2
            size = math.prod(boxes[i][d + half] - boxes[i][d] for d in range(half))
            weights.append(slow_iou(boxes[top], boxes[i]) * size * patch[i])
        wanted = sum(expected[i] for i in cluster) / len(cluster)
        missing = max(0.0, wanted - len({members[i] for i in cluster}))
        total = sum(weights)
        score = sum(scores[i] * w for i, w in zip(cluster, weights)) / (total + missing * total / len(weights))
        norm = sum(scores[i] * w for i, w in zip(cluster, weights))
        box = [
            sum(boxes[i][c] * scores[i] * w for i, w in zip(cluster, weights)) / norm for c in range(len(boxes[top]))
        ]
        if score > min_score:
            found.append((score, labels[top], box))
    return sorted(found, key=lambda entry: -entry[0])


def test_object_seen_by_one_of_three_members_keeps_a_third_of_its_score():
    boxes, scores, labels = weighted_box_clustering(
        torch.tensor([[10.0, 10.0, 20.0, 20.0]]), torch.tensor([0.33]), torch.tensor([2]), expected=3
    )
    assert boxes.tolist() == [[10.0, 10.0, 20.0, 20.0]]
    assert scores.item() == pytest.approx(0.11)
    assert labels.tolist() == [2]


def test_worked_example_of_two_overlapping_boxes():
    """A = 10 x 10, s .8; B = the same moved by 2 px, s .4: IoU 80 / 120, w = 100 and 66.67."""
    boxes, scores, _ = weighted_box_clustering(
        torch.tensor([[0.0, 0.0, 10.0, 10.0], [2.0, 0.0, 12.0, 10.0]]),
        torch.tensor([0.8, 0.4]),
        torch.tensor([1, 1]),
        expected=2,
        members=torch.tensor([0, 1]),
    )
    assert scores.item() == pytest.approx((80 + 0.4 * 200 / 3) / (100 + 200 / 3), rel=1e-6)  # 0.64
    assert boxes[0].tolist() == pytest.approx([0.5, 0.0, 10.5, 10.0])


def test_two_boxes_of_one_member_do_not_make_up_for_a_missing_one():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 10.0]])
    scores, labels = torch.tensor([0.6, 0.6]), torch.tensor([1, 1])
    apart = weighted_box_clustering(boxes, scores, labels, expected=2, members=torch.tensor([0, 1]))[1]
    same = weighted_box_clustering(boxes, scores, labels, expected=2, members=torch.tensor([0, 0]))[1]
    unknown = weighted_box_clustering(boxes, scores, labels, expected=2)[1]
    assert apart.item() == pytest.approx(0.6)
    assert same.item() == pytest.approx(0.6 * 2 / 3)
    assert unknown.item() == pytest.approx(0.6)  # nnDetection counts boxes


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_slow_reference(dims):
    generator = torch.Generator().manual_seed(dims)
    for n in (1, 2, 7, 60):
        low = torch.rand(n, dims, generator=generator, dtype=torch.float64) * 30
        boxes = torch.cat([low, low + 3 + torch.rand(n, dims, generator=generator, dtype=torch.float64) * 15], dim=1)
        scores = torch.rand(n, generator=generator, dtype=torch.float64)
        labels = torch.randint(1, 3, (n,), generator=generator)
        patch = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
        expected = torch.randint(1, 6, (n,), generator=generator)
        members = torch.randint(0, 4, (n,), generator=generator)
        for threshold in (1e-5, 0.3):
            found = weighted_box_clustering(boxes, scores, labels, patch, threshold, expected, members=members)
            wanted = slow_clustering(
                boxes.tolist(),
                scores.tolist(),
                labels.tolist(),
                patch.tolist(),
                threshold,
                expected.tolist(),
                members.tolist(),
            )
            assert found[1].tolist() == pytest.approx([score for score, _, _ in wanted])
            assert found[2].tolist() == [label for _, label, _ in wanted]
            assert [v for box in found[0].tolist() for v in box] == pytest.approx(
                [v for *_, box in wanted for v in box]
            )


def test_order_of_boxes_plays_no_part_even_among_equals():
    boxes = torch.tensor([[0.0, 0, 10, 10], [4.0, 0, 14, 10], [8.0, 0, 18, 10], [40.0, 0, 50, 10]])
    scores, labels = torch.tensor([0.5, 0.5, 0.5, 0.5]), torch.tensor([1, 1, 1, 2])
    first = weighted_box_clustering(boxes, scores, labels, None, 0.2, 2)
    for order in ([3, 2, 1, 0], [1, 3, 0, 2]):
        other = weighted_box_clustering(boxes[order], scores[order], labels[order], None, 0.2, 2)
        assert all(torch.allclose(a, b) for a, b in zip(first, other))


def test_classes_are_merged_apart():
    box = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 10]])
    assert len(weighted_box_clustering(box, torch.tensor([0.9, 0.8]), torch.tensor([1, 2]))[0]) == 2
    assert len(weighted_box_clustering(box, torch.tensor([0.9, 0.8]), torch.tensor([1, 1]))[0]) == 1


def test_nndetection_variant_leaves_the_area_out():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 20, 10]])
    scores, labels = torch.tensor([0.8, 0.2]), torch.tensor([1, 1])
    with_area = weighted_box_clustering(boxes, scores, labels)[1].item()
    without = weighted_box_clustering(boxes, scores, labels, use_area=False)[1].item()
    assert with_area == pytest.approx((80 + 0.2 * 100) / 200)
    assert without == pytest.approx((0.8 + 0.1) / 1.5)
    light = weighted_box_clustering(boxes[:1], scores[:1], labels[:1], expected=3, missing_weight=0.5)[1]
    assert light.item() == pytest.approx(0.8 / 2)


def test_expected_is_averaged_over_the_boxes_of_a_cluster():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 10]])
    scores = torch.tensor([0.5, 0.5])
    found = weighted_box_clustering(boxes, scores, torch.tensor([1, 1]), expected=torch.tensor([2, 4]))
    assert found[1].item() == pytest.approx(0.5 * 2 / 3)  # 3 expected, 2 there


def test_no_boxes_one_pixel_boxes_and_boxes_without_area():
    for columns in (4, 6):
        empty = weighted_box_clustering(torch.empty(0, columns), torch.empty(0), torch.empty(0, dtype=torch.int64))
        assert [t.shape for t in empty] == [(0, columns), (0,), (0,)]
        assert empty[2].dtype == torch.int64
    tiny = weighted_box_clustering(
        torch.tensor([[3.0, 4, 5, 4, 5, 6], [9.0, 9, 9, 9, 9, 9]]), torch.tensor([0.9, 0.5]), torch.tensor([1, 1])
    )
    assert tiny[0].tolist() == [[3, 4, 5, 4, 5, 6], [9, 9, 9, 9, 9, 9]]
    assert tiny[1].tolist() == pytest.approx([0.9, 0.5])


def test_low_scores_are_dropped_and_dtypes_kept():
    found = weighted_box_clustering(
        torch.tensor([[0.0, 0, 4, 4], [9.0, 0, 14, 4]]), torch.tensor([0.02, 0.5]), torch.tensor([1, 1]), expected=2
    )
    assert found[1].tolist() == pytest.approx([0.25])
    assert (found[0].dtype, found[1].dtype) == (torch.float32, torch.float32)


def test_weight_of_a_patch_falls_from_its_middle_to_its_corner():
    boxes = torch.tensor([[45.0, 45, 55, 55], [0.0, 45, 10, 55], [0.0, 0, 10, 10]])
    weights = patch_centre_weights(boxes, (100, 100))
    side = math.exp(-(45**2) / (2 * 40**2))
    assert weights.tolist() == pytest.approx([1.0, (1 + side) / 2, side], rel=1e-5)
    assert patch_centre_weights(torch.tensor([[0.0, 0, 0, 8, 8, 4]]), (8, 8, 4)).tolist() == [1.0]
    with pytest.raises(ValueError, match="patch"):
        patch_centre_weights(boxes, (100, 100, 10))


def test_masks_are_averaged_with_the_weights_of_the_boxes():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 10]])
    scores = torch.tensor([0.75, 0.25])
    clusters = cluster_boxes(boxes, scores, torch.tensor([1, 1]))
    masks = torch.stack([torch.ones(1, 2, 2), torch.zeros(1, 2, 2)])
    assert cluster_mean(clusters, scores, masks).tolist() == [[[[0.75, 0.75], [0.75, 0.75]]]]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"boxes": torch.zeros(2, 5)}, r"\[N, 4\]"),
        ({"scores": torch.zeros(3)}, "as many scores"),
        ({"scores": torch.tensor([0.5, float("nan")])}, "finite"),
        ({"scores": torch.tensor([0.5, -0.1])}, "negative"),
        ({"iou_threshold": 1.0}, "iou_threshold"),
        ({"expected": 0}, "expected"),
        ({"expected": torch.tensor([1, 2, 3])}, "expected"),
        ({"members": torch.zeros(3)}, "members"),
        ({"min_score": -1.0}, "min_score"),
        ({"missing_weight": -1.0}, "missing_weight"),
    ],
)
def test_faulty_arguments_are_told(changes, told):
    arguments = {
        "boxes": torch.tensor([[0.0, 0, 1, 1], [0.0, 0, 1, 1]]),
        "scores": torch.tensor([0.5, 0.5]),
        "labels": torch.tensor([1, 1]),
    }
    with pytest.raises(ValueError, match=told):
        weighted_box_clustering(**{**arguments, **changes})
