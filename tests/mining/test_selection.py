from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lesion_app.mining.selection import Detections, score_histogram, select_mined


def detections(boxes: list[list[float]], scores: list[float]) -> Detections:
    return {
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "scores": torch.tensor(scores),
        "labels": torch.ones(len(scores), dtype=torch.int64),
    }


def iou(a: list[float], b: list[float]) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0.0) * max(h, 0.0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def test_confident_box_away_from_labels_is_mined() -> None:
    found = select_mined(
        detections([[0, 0, 10, 10], [50, 50, 60, 60], [80, 80, 90, 90]], [0.99, 0.95, 0.5]),
        torch.tensor([[0.0, 0, 10, 10]]),
        score_threshold=0.9,
        gt_nms_iou=0.7,
    )
    assert found["boxes"].tolist() == [[50, 50, 60, 60]]


def test_score_equal_to_tau_is_kept_and_iou_equal_to_the_threshold_too() -> None:
    found = select_mined(
        detections([[0, 0, 10, 5]], [0.5]), torch.tensor([[0.0, 0, 10, 10]]), score_threshold=0.5, gt_nms_iou=0.5
    )
    assert len(found["boxes"]) == 1


def test_each_detection_may_have_a_threshold_of_its_own() -> None:
    found = select_mined(
        detections([[0, 0, 5, 5], [50, 50, 90, 90]], [0.6, 0.6]),
        torch.zeros(0, 4),
        torch.tensor([0.5, 0.9]),
        gt_nms_iou=0.7,
    )
    assert found["boxes"].tolist() == [[0, 0, 5, 5]]


def test_box_in_an_ignore_region_is_not_mined() -> None:
    found = select_mined(
        detections([[0, 0, 10, 10], [8, 0, 18, 10]], [0.99, 0.99]),
        torch.zeros(0, 4),
        score_threshold=0.9,
        gt_nms_iou=0.7,
        ignore=torch.tensor([[0.0, 0, 12, 12]]),
    )
    assert found["boxes"].tolist() == [[8, 0, 18, 10]]


@pytest.mark.parametrize("labelled", [0, 3])
@pytest.mark.parametrize("predicted", [0, 40])
def test_equals_a_loop_over_pairs(labelled: int, predicted: int) -> None:
    generator = torch.Generator().manual_seed(labelled + predicted)

    def draw(n: int) -> Tensor:
        corner = torch.rand(n, 2, generator=generator) * 40
        return torch.cat((corner, corner + 1 + torch.rand(n, 2, generator=generator) * 20), dim=1)

    truth, boxes = draw(labelled), draw(predicted)
    scores = torch.rand(predicted, generator=generator)
    found = select_mined(detections(boxes.tolist(), scores.tolist()), truth, 0.4, 0.3)
    expected = [
        box
        for box, score in zip(boxes.tolist(), scores.tolist())
        if score >= 0.4 and all(iou(box, label) <= 0.3 for label in truth.tolist())
    ]
    assert torch.allclose(found["boxes"], torch.tensor(expected).reshape(-1, 4))


def test_histogram_counts_every_score_once() -> None:
    assert score_histogram(torch.tensor([0.0, 0.05, 0.1, 0.95, 1.0])).tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert score_histogram(torch.zeros(0)).sum() == 0
