"""Detectors asked one after the other and fused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lesion_app.networks.separate_detectors import SeparateDetectors


class Scripted(nn.Module):
    """Finds the same boxes on every slab."""

    def __init__(self, boxes, scores, num_slices=3):
        super().__init__()
        self.boxes, self.scores, self.num_slices = torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), num_slices

    def forward(self, slabs, targets=None):
        labels = torch.ones(len(self.boxes), dtype=torch.int64)
        return [{"boxes": self.boxes, "scores": self.scores, "labels": labels} for _ in slabs]


HERE, NEARLY, THERE = [10.0, 10, 30, 30], [11.0, 10, 31, 30], [60.0, 60, 80, 80]


def test_stronger_of_two_overlapping_finds_stays_with_its_detectors_number():
    both = SeparateDetectors([Scripted([HERE], [0.6]), Scripted([NEARLY, THERE], [0.8, 0.3])]).eval()
    (found,) = both([torch.zeros(3, 96, 96)])
    assert found["boxes"].tolist() == [NEARLY, THERE]
    assert found["experts"].tolist() == [2, 2]
    assert found["labels"].tolist() == [1, 1]


def test_detector_that_finds_nothing_changes_nothing():
    both = SeparateDetectors([Scripted([], []), Scripted([HERE, THERE], [0.5, 0.9])], detections_per_image=1).eval()
    found = both([torch.zeros(3, 96, 96), torch.zeros(3, 64, 64)])
    assert [one["boxes"].tolist() for one in found] == [[THERE], [THERE]]


def test_training_and_unlike_slabs_are_refused():
    with pytest.raises(ValueError, match="one by one"):
        SeparateDetectors([Scripted([HERE], [0.6])])([torch.zeros(3, 8, 8)])
    with pytest.raises(ValueError, match="equally many slices"):
        SeparateDetectors([Scripted([HERE], [0.6], 3), Scripted([HERE], [0.6], 9)])
    with pytest.raises(ValueError, match="equally many"):
        SeparateDetectors([])
