from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import batched_nms

from lesion_app.boxes.diou_nms import diou_nms


def slow_diou_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float, beta: float) -> list[int]:
    """Box by box, as the paper writes it."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda k: -float(scores[k])):
        a = boxes[i].tolist()
        for k in kept:
            b = boxes[k].tolist()
            wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            common = max(wide, 0) * max(high, 0)
            iou = common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
            d2 = ((a[0] + a[2] - b[0] - b[2]) / 2) ** 2 + ((a[1] + a[3] - b[1] - b[3]) / 2) ** 2
            c2 = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
            if labels[i] == labels[k] and iou - (d2 / c2) ** beta > threshold:
                break
        else:
            kept.append(i)
    return kept


def heap(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=rng) * 40
    boxes = torch.cat((corner, corner + 5 + torch.rand(count, 2, generator=rng) * 30), dim=1)
    return boxes, torch.rand(count, generator=rng), torch.randint(1, 3, (count,), generator=rng)


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.6])
@pytest.mark.parametrize("beta", [0.6, 1.0])
def test_equals_the_loop_over_boxes(threshold: float, beta: float) -> None:
    for seed in range(5):
        boxes, scores, labels = heap(80, seed)
        kept = diou_nms(boxes, scores, labels, threshold, beta).tolist()
        assert kept == slow_diou_nms(boxes, scores, labels, threshold, beta)
        assert 1 < len(kept) < 80


def test_a_dropped_box_drops_no_other() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]])
    ones = torch.ones(3, dtype=torch.int64)
    assert diou_nms(boxes, torch.tensor([0.9, 0.8, 0.7]), ones, 0.4).tolist() == [0, 2]
    assert diou_nms(boxes, torch.tensor([0.8, 0.9, 0.7]), ones, 0.4).tolist() == [1]


def test_boxes_with_distant_centres_are_kept_where_greedy_nms_drops_them() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10]])  # IoU 0.4286, d2 / c2 = 16 / 296
    scores, labels = torch.tensor([0.9, 0.8]), torch.ones(2, dtype=torch.int64)
    assert batched_nms(boxes, scores, labels, 0.4).tolist() == [0]
    assert diou_nms(boxes, scores, labels, 0.4).tolist() == [0, 1]
    assert diou_nms(boxes, scores, labels, 0.37).tolist() == [0]


def test_classes_do_not_drop_each_other() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 3)
    kept = diou_nms(boxes, torch.tensor([0.5, 0.9, 0.7]), torch.tensor([1, 2, 1]), 0.5)
    assert kept.tolist() == [1, 2]


def test_no_boxes_and_boxes_without_area() -> None:
    none = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    assert diou_nms(*none, 0.5).tolist() == []
    points = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 1]])
    assert diou_nms(points, torch.tensor([0.1, 0.2]), torch.ones(2, dtype=torch.int64), 0.5).tolist() == [1, 0]
