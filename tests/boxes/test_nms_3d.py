from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms

from lesion_app.boxes.nms_3d import class_wise_nms, nms_3d


def cubes(count: int, seed: int, side: float = 12.0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 3, generator=rng) * 20
    return torch.cat([low, low + 2 + torch.rand(count, 3, generator=rng) * side], dim=1)


def iou(a: list[float], b: list[float]) -> float:
    common = 1.0
    for axis in range(3):
        common *= max(0.0, min(a[axis + 3], b[axis + 3]) - max(a[axis], b[axis]))
    volumes = [(v[3] - v[0]) * (v[4] - v[1]) * (v[5] - v[2]) for v in (a, b)]
    return common / (sum(volumes) - common)


def slow_nms(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i)):
        if all(iou(boxes[i].tolist(), boxes[k].tolist()) <= threshold for k in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [1e-5, 0.2, 0.7])
@pytest.mark.parametrize("count", [0, 1, 60])
def test_equal_to_the_slow_rule(count: int, threshold: float) -> None:
    boxes = cubes(count, count)
    scores = torch.rand(count, generator=torch.Generator().manual_seed(1)).round(decimals=1)
    assert nms_3d(boxes, scores, threshold).tolist() == slow_nms(boxes, scores, threshold)


def test_on_boxes_of_one_depth_it_is_torchvisions() -> None:
    boxes, scores = cubes(50, 3), torch.rand(50, generator=torch.Generator().manual_seed(2))
    boxes[:, 2], boxes[:, 5] = 0.0, 1.0
    assert torch.equal(nms_3d(boxes, scores, 0.3), nms(boxes[:, [0, 1, 3, 4]], scores, 0.3))


def test_stops_after_the_count() -> None:
    boxes, scores = cubes(60, 4, 2.0), torch.rand(60)
    assert nms_3d(boxes, scores, 0.5, count=3).tolist() == nms_3d(boxes, scores, 0.5).tolist()[:3]


def test_classes_do_not_suppress_each_other() -> None:
    boxes = torch.tensor([[0.0, 0, 0, 4, 4, 4]] * 3)
    kept = class_wise_nms(boxes, torch.tensor([0.5, 0.9, 0.7]), torch.tensor([1, 1, 2]), 0.1, 10)
    assert kept.tolist() == [1, 2]
    assert class_wise_nms(boxes, torch.tensor([0.5, 0.9, 0.7]), torch.tensor([1, 1, 2]), 0.1, 1).tolist() == [1]
    assert class_wise_nms(boxes[:0], torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.1, 9).tolist() == []


def test_2d_is_torchvisions() -> None:
    boxes, scores = cubes(40, 5)[:, [0, 1, 3, 4]], torch.rand(40)
    labels = torch.arange(40) % 2
    assert torch.equal(class_wise_nms(boxes, scores, labels, 0.3, 40), batched_nms(boxes, scores, labels, 0.3))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"boxes must be \[N, 6\]"):
        nms_3d(torch.zeros(2, 4), torch.zeros(2), 0.5)
