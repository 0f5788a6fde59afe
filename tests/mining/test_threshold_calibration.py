"""The teacher is shown fully annotated slices and the threshold follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from lesion_app.mining.calibrated_threshold import CalibratedThreshold
from lesion_app.mining.selection import Detections
from lesion_app.mining.threshold_calibration import ThresholdCalibration


def slices() -> list[dict[str, Any]]:
    lesion = torch.tensor([[10.0, 10.0, 20.0, 20.0]])
    labelled = {"image": torch.zeros(3, 32, 32), "boxes": lesion}
    known = {"image": torch.ones(3, 32, 32), "boxes": lesion, "truth_boxes": lesion + 8}
    return [labelled, known, {**labelled, "boxes": lesion[:0]}]


class Teacher:
    """Finds one box at (10, 10, 20, 20) on every slice, less sure on the brighter one."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self, slabs: Sequence[Tensor]) -> list[Detections]:
        self.looks += 1
        return [
            {
                "boxes": torch.tensor([[10.0, 10.0, 20.0, 20.0]]),
                "scores": torch.tensor([0.9 - 0.5 * float(slab.mean())]),
                "labels": torch.ones(1, dtype=torch.int64),
            }
            for slab in slabs
        ]


def test_boxes_are_right_where_they_lie_on_a_true_lesion() -> None:
    boxes, scores, right = ThresholdCalibration(CalibratedThreshold(), slices(), slabs_per_batch=2).look(Teacher())
    assert scores.tolist() == pytest.approx([0.9, 0.4, 0.9])
    assert right.tolist() == [True, False, False]
    assert boxes.shape == (3, 4)


def test_threshold_is_set_when_it_is_time() -> None:
    threshold = CalibratedThreshold(precision=0.5, start=0.95, lowest=0.1, fall=1.0, support=1)
    calibration = ThresholdCalibration(threshold, slices(), every=10)
    teacher = Teacher()
    for iteration in range(1, 10):
        calibration.update(iteration, teacher)
    assert teacher.looks == 0
    assert threshold.values.tolist() == pytest.approx([0.95])
    calibration.update(10, teacher)
    assert threshold.values.tolist() == pytest.approx([0.9])


def test_counts_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="every"):
        ThresholdCalibration(CalibratedThreshold(), slices(), every=0)
