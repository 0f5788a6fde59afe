"""The 2D detections of a whole volume as one table in a fixed order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class DetectionTable:
    """All detections of a volume, slice after slice.

    Within a slice they are ordered by falling score, then label and coordinates, so that what is made from the table
    does not depend on the order in which a detector happened to list its boxes.

    Args:
        slices: ``[N]`` int64, non-decreasing.
        boxes: ``[N, 4]`` float64 ``(x1, y1, x2, y2)`` px, half-open.
        scores: ``[N]`` float64.
        labels: ``[N]`` int64.
        starts: ``[S + 1]`` int64; rows ``starts[z]:starts[z + 1]`` are those of slice ``z``.
    """

    slices: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.slices)

    @property
    def n_slices(self) -> int:
        return len(self.starts) - 1

    def on_slice(self, z: int) -> slice:
        """Rows of slice ``z``."""
        return slice(int(self.starts[z]), int(self.starts[z + 1]))


def collect_detections(detections: Sequence[Mapping[str, Any]], min_score: float = 0.0) -> DetectionTable:
    """Put the per-slice detections of a volume into one table.

    Args:
        detections: one mapping a slice in z order, the index being the slice: ``boxes`` ``[N, 4]`` px half-open,
            ``scores`` ``[N]`` and, if wanted, ``labels`` ``[N]`` (else all 1); tensors, arrays or lists.
        min_score: detections below it are left out.

    Raises:
        ValueError: when a slice's shapes disagree or a number is not finite.
    """
    slices, boxes, scores, labels = [], [], [], []
    for z, found in enumerate(detections):
        slice_boxes = _floats(found["boxes"])
        slice_scores = _floats(found["scores"])
        slice_labels = _floats(found["labels"]) if "labels" in found else np.ones(slice_scores.shape)
        if slice_boxes.size == 0:
            slice_boxes = slice_boxes.reshape(0, 4)
        n = len(slice_boxes)
        if slice_boxes.shape != (n, 4) or slice_scores.shape != (n,) or slice_labels.shape != (n,):
            raise ValueError(
                f"slice {z}: expected boxes [N, 4] with scores [N] and labels [N], got {list(slice_boxes.shape)}, "
                f"{list(slice_scores.shape)} and {list(slice_labels.shape)}"
            )
        if not (np.isfinite(slice_boxes).all() and np.isfinite(slice_scores).all()):
            raise ValueError(f"slice {z}: boxes and scores must be finite numbers")
        slices.append(np.full(n, z, dtype=np.int64))
        boxes.append(slice_boxes)
        scores.append(slice_scores)
        labels.append(slice_labels.astype(np.int64))

    table_slices = np.concatenate([np.empty(0, np.int64), *slices])
    table_boxes = np.concatenate([np.empty((0, 4)), *boxes])
    table_scores = np.concatenate([np.empty(0), *scores])
    table_labels = np.concatenate([np.empty(0, np.int64), *labels])
    # lexsort: the last key is the first criterion.
    order = np.lexsort((*table_boxes.T[::-1], table_labels, -table_scores, table_slices))
    order = order[table_scores[order] >= min_score]
    table_slices = table_slices[order]
    return DetectionTable(
        table_slices,
        table_boxes[order],
        table_scores[order],
        table_labels[order],
        np.searchsorted(table_slices, np.arange(len(detections) + 1)),
    )


def _floats(values: Any) -> np.ndarray:
    return torch.as_tensor(values).detach().cpu().double().numpy()
