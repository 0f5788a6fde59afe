"""Retina U-Net's way from 2D to 3D: a box takes the boxes of the neighbouring slices that it overlaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lesion_app.boxes.overlap import box_iou
from lesion_app.boxes.tracklet import Tracklet
from lesion_app.tracking.detections import DetectionTable, collect_detections


class SliceMerger:
    """Merge the 2D boxes of a volume around its best ones, as Jaeger et al. do for 2D detectors.

    "Retina U-Net: Embarrassingly Simple Exploitation of Segmentation Supervision for Medical Object Detection", ML4H
    2019, section 4.3 ("evaluation and matching is performed in 3D for all models"); rule of the published program
    (medicaldetectiontoolkit, ``nms_2to3D``): all boxes of a class are laid over each other; the best one takes those
    whose 2D IoU with it is greater than ``iou_threshold``, on its own slice and on the neighbours to either side up to
    the first slice without one. They are removed, and the best of the rest goes on. The lesion keeps the best box's
    x, y and score.

    Its box stands on each of its slices, with the best score taken there, so that ``Tracklet.extent`` is the paper's 3D
    box. The program adds a margin of a slice on either side (z1 = min - 1, z2 = max + 1) to found and true boxes
    alike; edges here are half-open (z2 = last slice + 1) and there is none unless ``margin_slices`` asks for it.

    Args:
        iou_threshold: boxes must overlap by more, in [0, 1).
        min_hits: lesions on fewer slices are dropped.
        min_score: detections below it take no part.
        margin_slices: slices added at both ends, as far as the volume goes, with the score of the end.

    Raises:
        ValueError: when an argument is out of its range.
    """

    def __init__(
        self, iou_threshold: float = 0.1, min_hits: int = 1, min_score: float = 0.0, margin_slices: int = 0
    ) -> None:
        if not 0 <= iou_threshold < 1:
            raise ValueError(f"iou_threshold must lie in [0, 1), got {iou_threshold}")
        if min_hits < 1 or margin_slices < 0:
            raise ValueError(f"min_hits must be >= 1 and margin_slices >= 0, got {min_hits} and {margin_slices}")
        self.iou_threshold = iou_threshold
        self.min_hits = min_hits
        self.min_score = min_score
        self.margin_slices = margin_slices

    def __call__(self, detections: Sequence[Mapping[str, Any]]) -> list[Tracklet]:
        """Link the detections of one volume; input, output and errors as in ``KalmanLinker``."""
        table = collect_detections(detections, self.min_score)
        waiting = np.lexsort((*table.boxes.T[::-1], table.labels, table.slices, -table.scores))
        lesions: list[Tracklet] = []
        while len(waiting):  # one turn a lesion
            taken = waiting[self._taken(table, waiting)]
            lesion = self._lesion(table, taken)
            if len(np.unique(table.slices[taken])) >= self.min_hits:
                lesions.append(lesion)
            waiting = waiting[~np.isin(waiting, taken)]
        return lesions

    def _taken(self, table: DetectionTable, waiting: np.ndarray) -> np.ndarray:
        """Which of the ``waiting`` rows (best first) belong to the first one."""
        boxes = torch.from_numpy(table.boxes[waiting])
        joins = (box_iou(boxes[:1], boxes)[0] > self.iou_threshold).numpy()
        joins &= table.labels[waiting] == table.labels[waiting[0]]
        joins[0] = True  # a box without area does not even overlap itself
        slices = table.slices[waiting]
        occupied = np.zeros(table.n_slices, dtype=bool)
        occupied[slices[joins]] = True
        empty = np.flatnonzero(~occupied)
        above, below = empty[empty > slices[0]], empty[empty < slices[0]]
        first = below[-1] + 1 if len(below) else 0
        last = above[0] - 1 if len(above) else table.n_slices - 1
        return joins & (slices >= first) & (slices <= last)

    def _lesion(self, table: DetectionTable, taken: np.ndarray) -> Tracklet:
        """The lesion of rows given best first."""
        numbers, first = np.unique(table.slices[taken], return_index=True)  # the first row of a slice is its best
        scores = table.scores[taken[first]]
        start = max(int(numbers[0]) - self.margin_slices, 0)
        stop = min(int(numbers[-1]) + self.margin_slices, table.n_slices - 1)
        slices = np.arange(start, stop + 1)
        box = np.repeat(table.boxes[taken[:1]], len(slices), axis=0)
        held = scores[np.clip(slices - int(numbers[0]), 0, len(scores) - 1)]
        return Tracklet.from_arrays(slices.tolist(), box, held.tolist(), int(table.labels[taken[0]]))
