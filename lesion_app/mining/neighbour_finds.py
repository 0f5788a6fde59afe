"""What the teacher finds on the slabs above and below a slice, where there is a box to ask about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lesion_app.boxes.overlap import box_iou
from lesion_app.errors import InputError
from lesion_app.mining.checks import Predict
from lesion_app.mining.selection import Detections


def neighbour_scores(
    items: Sequence[dict[str, Any]], mined: Sequence[Detections], predict: Predict, iou_threshold: float
) -> list[Tensor | None]:
    """The highest score with which each neighbouring slab's finds confirm each mined box.

    Args:
        items: training items with ``neighbours``, a list of K slabs ``[S, H, W]`` in the teacher's view
            (:class:`transforms.neighbour_slabs.NeighbourSlabsd`).
        mined: the items' boxes ``[N, 4]``, px of the same view.
        predict: the teacher; asked once, for all slabs of items with a mined box.
        iou_threshold: smallest IoU of a find that confirms a box.

    Returns:
        an item's scores float32 ``[K, N]``, 0 where nothing overlaps; None for an item without a mined box.

    Raises:
        InputError: for items without neighbours.
    """
    scores: list[Tensor | None] = [None] * len(mined)
    asked = [i for i, found in enumerate(mined) if len(found["boxes"])]
    slabs = []
    for i in asked:
        if "neighbours" not in items[i]:
            raise InputError(
                "mining with neighbouring slabs found none in the training items; add "
                "transforms.neighbour_slabs.NeighbourSlabsd to student_augmentation and load more slices"
            )
        slabs.extend(items[i]["neighbours"])
    if not slabs:
        return scores
    predictions = iter(predict(slabs))
    for i in asked:
        boxes = mined[i]["boxes"]
        rows = [_confirming(boxes, next(predictions), iou_threshold) for _ in items[i]["neighbours"]]
        scores[i] = torch.stack(rows) if rows else boxes.new_zeros((0, len(boxes)))
    return scores


def _confirming(boxes: Tensor, finds: Detections, iou_threshold: float) -> Tensor:
    if not len(finds["boxes"]):
        return boxes.new_zeros(len(boxes))
    overlapping = box_iou(boxes, finds["boxes"].to(boxes)) >= iou_threshold
    return torch.where(overlapping, finds["scores"].to(boxes), 0.0).amax(dim=1)
