"""From a list of items to what the MONAI engines hand to network and inferer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image


def item_target(item: dict[str, Any]) -> dict[str, Tensor]:
    """The labels of a training item in the teacher's view: ``{boxes, labels, ignore, negatives (if any)}``.

    An item of one of several data sets tells which, ``dataset`` (from 0), and so does its target (int64 scalar).
    """
    target: dict[str, Tensor] = {key: item[key] for key in ("boxes", "labels", "ignore", "negatives") if key in item}
    if "dataset" in item:
        target["dataset"] = torch.as_tensor(item["dataset"], dtype=torch.int64)
    return target


def student_target(item: dict[str, Any], min_side_px: float = 1.0) -> dict[str, Tensor]:
    """The target of the student's view of an item.

    The merged target that the mean teacher left under ``item["target"]`` (else the labels alone) is
    mapped from ``item["view"]`` to ``item["student_view"]`` (nothing to map without one) and clipped to
    the student's slab; boxes that keep less than ``min_side_px`` of a side are dropped.
    """
    target = dict(item.get("target") or item_target(item))
    slab = student_slab(item)
    for key in ("boxes", "ignore", "negatives"):
        if key not in target:
            continue
        if "student_view" in item:
            target[key] = item["student_view"].apply(item["view"].invert(target[key]))
        target[key] = clip_boxes_to_image(target[key], tuple(slab.shape[-2:]))
    sides = target["boxes"][:, 2:] - target["boxes"][:, :2]
    keep = (sides >= min_side_px).all(dim=1)
    for key in ("boxes", "labels"):
        target[key] = target[key][keep]
    return target


def student_slab(item: dict[str, Any]) -> Tensor:
    """The slab the student sees: ``student_image``, or ``image`` where there is one view only."""
    return item["student_image"] if "student_image" in item else item["image"]


def prepare_student_batch(
    batch: Sequence[dict[str, Any]], device: str | torch.device, non_blocking: bool = False, **_: Any
) -> tuple[list[Tensor], list[dict[str, Tensor]], tuple[list[dict[str, Tensor]]], dict[str, Any]]:
    """``prepare_batch`` of a MONAI trainer: slabs, targets, and the targets again for the network's call."""
    slabs = [student_slab(item).to(device, non_blocking=non_blocking) for item in batch]
    targets = [{k: v.to(device, non_blocking=non_blocking) for k, v in student_target(item).items()} for item in batch]
    return slabs, targets, (targets,), {}


def prepare_slab_batch(
    batch: Sequence[dict[str, Any]], device: str | torch.device, non_blocking: bool = False, **_: Any
) -> tuple[list[Tensor], list[dict[str, Any]]]:
    """``prepare_batch`` of a MONAI evaluator on key slices: slabs ``[S, H, W]``, and the items without them."""
    slabs = [item["image"].to(device, non_blocking=non_blocking) for item in batch]
    return slabs, [{k: v for k, v in item.items() if k != "image"} for item in batch]


def prepare_volume_batch(
    batch: Sequence[dict[str, Any]], device: str | torch.device, non_blocking: bool = False, **_: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """``prepare_batch`` of a MONAI evaluator on whole volumes: the items, for the inferer and as targets.

    Volumes stay where they are; the inferer moves slab by slab.
    """
    return list(batch), [{k: v for k, v in item.items() if k != "image"} for item in batch]


def sum_losses(losses: dict[str, Tensor], targets: Any = None) -> Tensor:
    """Total of a detector's losses (the ``loss_function`` of a MONAI trainer)."""
    return torch.stack(list(losses.values())).sum()
