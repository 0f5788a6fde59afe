"""Training batches whose labelled boxes have the masks that readers drew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lesion_app.data.batches import item_target, prepare_student_batch, student_slab, student_target
from transforms.load_lesion_masks import masks_in_view
from transforms.view import View


def prepare_masked_batch(
    batch: Sequence[dict[str, Any]], device: str | torch.device, non_blocking: bool = False, **_: Any
) -> tuple[list[Tensor], list[dict[str, Tensor]], tuple[list[dict[str, Tensor]]], dict[str, Any]]:
    """``prepare_student_batch`` with ``masks`` uint8 [K, H, W] of the K labelled boxes of every target that has some.

    Boxes that a teacher mined stand behind the labelled ones and get none, so that a segmentation loss leaves their
    pixels out. Items without ``masks`` (of a data set that has boxes only) give targets without.
    """
    slabs, targets, inputs, options = prepare_student_batch(batch, device, non_blocking)
    for item, target in zip(batch, targets):
        if "masks" in item:
            target["masks"] = student_masks(item).to(device, non_blocking=non_blocking)
    return slabs, targets, inputs, options


def student_masks(item: dict[str, Any]) -> Tensor:
    """``item["masks"]`` [N, H, W] of the original slice as the student sees them, of the boxes left in his view."""
    labels = item_target(item)
    # Numbers instead of labels tell which boxes the student's view has dropped.
    numbered = {**{k: v for k, v in item.items() if k != "target"}, "labels": torch.arange(len(labels["boxes"]))}
    left = student_target(numbered)["labels"]
    view: View = item["student_view"] if "student_view" in item else item["view"]
    return masks_in_view(item["masks"][left], view, student_slab(item).shape[-2:])
