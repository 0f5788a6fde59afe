from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from lesion_app.mining.selection import select_mined
from lesion_app.mining.size_thresholds import SizeThresholds


def test_longer_side_decides_and_an_edge_belongs_to_the_larger_size() -> None:
    thresholds = SizeThresholds(edges_px=[10, 20], scores=[0.5, 0.7, 0.9])
    boxes = torch.tensor([[0.0, 0, 3, 9.9], [0, 0, 10, 3], [0, 0, 19, 19], [0, 0, 5, 20], [0, 0, 90, 4]])
    assert_close(thresholds(boxes), torch.tensor([0.5, 0.7, 0.7, 0.9, 0.9]))


def test_selection_takes_one_threshold_a_box() -> None:
    boxes = torch.tensor([[0.0, 0, 5, 5], [50, 50, 90, 90]])
    found = select_mined(
        {"boxes": boxes, "scores": torch.tensor([0.6, 0.6]), "labels": torch.ones(2, dtype=torch.int64)},
        torch.zeros(0, 4),
        SizeThresholds([10], [0.5, 0.9])(boxes),
        gt_nms_iou=0.7,
    )
    assert found["boxes"].tolist() == boxes[:1].tolist()


def test_no_boxes_no_thresholds() -> None:
    assert SizeThresholds([10], [0.5, 0.9])(torch.zeros(0, 4)).shape == (0,)


@pytest.mark.parametrize(("edges", "scores"), [([10], [0.5]), ([20, 10], [0.1, 0.2, 0.3]), ([10], [0.5, 1.5])])
def test_rules_that_make_no_sense_are_refused(edges: list[float], scores: list[float]) -> None:
    with pytest.raises(ValueError, match="scores"):
        SizeThresholds(edges, scores)
