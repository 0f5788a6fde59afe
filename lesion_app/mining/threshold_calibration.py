"""Calibrates the mining threshold on fully annotated slices while training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lesion_app.boxes.overlap import box_iou
from lesion_app.mining.calibrated_threshold import CalibratedThreshold
from lesion_app.mining.checks import Predict
from lesion_app.mining.selection import Detections


class ThresholdCalibration:
    """Shows the teacher fully annotated slices every so often and sets the threshold by what it finds there.

    Costs one look of the teacher at each slice every ``every`` iterations.

    Args:
        threshold: what is set; the mean teacher's ``score_threshold``.
        dataset: items with ``image`` ``[S, H, W]`` and ``boxes`` (and ``truth_boxes``, which then count instead), EVERY
            lesion of the slice among them.
        every: iterations between two calibrations.
        slabs_per_batch: slabs the teacher sees at a time.
        iou_threshold: IoU with a lesion from which a box is right.

    Raises:
        ValueError: for counts below 1.
    """

    def __init__(
        self,
        threshold: CalibratedThreshold,
        dataset: Sequence[dict[str, Any]],
        every: int = 100,
        slabs_per_batch: int = 8,
        iou_threshold: float = 0.5,
    ) -> None:
        if every < 1 or slabs_per_batch < 1:
            raise ValueError(f"every and slabs_per_batch must be positive, got {every} and {slabs_per_batch}")
        self.threshold = threshold
        self.dataset = dataset
        self.every = every
        self.slabs_per_batch = slabs_per_batch
        self.iou_threshold = iou_threshold

    def update(self, mining_iterations: int, predict: Predict) -> None:
        """Calibrate when it is time to.

        Args:
            mining_iterations: iterations since mining began, 0 in the first.
            predict: the teacher.
        """
        if mining_iterations % self.every == 0:
            self.threshold.calibrate(*self.look(predict))

    def look(self, predict: Predict) -> tuple[Tensor, Tensor, Tensor]:
        """All boxes ``[N, 4]`` the teacher finds, their scores ``[N]``, and whether each is right ``[N]``."""
        found: list[Detections] = []
        right = [torch.zeros(0, dtype=torch.bool)]
        for first in range(0, len(self.dataset), self.slabs_per_batch):
            items = [self.dataset[i] for i in range(first, min(first + self.slabs_per_batch, len(self.dataset)))]
            for item, boxes in zip(items, predict([item["image"] for item in items])):
                lesions = item.get("truth_boxes", item["boxes"]).to(boxes["boxes"])
                right.append((box_iou(boxes["boxes"], lesions) >= self.iou_threshold).any(dim=1))
                found.append(boxes)
        every = torch.cat([torch.zeros((0, 4)), *(f["boxes"] for f in found)])
        return every, torch.cat([torch.zeros(0), *(f["scores"] for f in found)]), torch.cat(right)
