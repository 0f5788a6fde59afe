"""Which labelled box each anchor or proposal stands for, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lesion_app.boxes.overlap import OverlapKind, box_iobb, box_iou, box_overlap_3d


def overlap(boxes: Tensor, regions: Tensor, kind: OverlapKind = "iou") -> Tensor:
    """``[N, M]`` IoU or IoBB of 2D or 3D boxes, by their columns."""
    if boxes.shape[1] == 6:
        return box_overlap_3d(boxes, regions, kind)
    return box_iou(boxes, regions) if kind == "iou" else box_iobb(boxes, regions)


def match_candidates(
    candidates: Tensor,
    target: dict[str, Tensor],
    fg_iou: float,
    bg_iou: float,
    ignore_iobb: float = 0.5,
    best_is_positive: bool = True,
    size: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Class and box of every candidate of one image.

    A candidate is positive from an IoU of ``fg_iou`` on with some box, background below ``bg_iou`` with all of them,
    and undecided between. The best candidate of every box is positive in any case (Jaeger et al., "Retina U-Net",
    published program), so that no box goes unlearnt, however small. Background in an ignored region is undecided.

    Args:
        candidates: ``[A, 4 | 6]``, sides > 0.
        target: ``boxes`` [N, 4 | 6], ``labels`` [N] from 1, ``ignore`` [M, 4 | 6] (optional).
        fg_iou, bg_iou: ``bg_iou`` <= ``fg_iou``.
        ignore_iobb: share of a candidate within an ignored region from which it is undecided; so is one whose IoU with
            the region reaches ``bg_iou``.
        best_is_positive: False leaves boxes without any match as they are (second stages).
        size: ((D,) H, W) of the image. Of background candidates that reach beyond it only the part within counts, and
            one whose middle lies beyond it, in the batch's padding, is undecided. None = candidates lie within.

    Returns:
        labels ``[A]`` int64: the class, 0 = background, -1 = undecided; and row ``[A]`` int64 of the box (0 where there
        is none).
    """
    labels = torch.zeros(len(candidates), dtype=torch.int64, device=candidates.device)
    rows = torch.zeros_like(labels)
    boxes = target["boxes"].to(candidates)
    if len(candidates) == 0:
        return labels, rows
    if len(boxes):
        iou = overlap(candidates, boxes)
        best, rows = iou.max(dim=1)
        classes = target["labels"].to(labels)
        labels[best >= bg_iou] = -1
        labels = torch.where(best >= fg_iou, classes[rows], labels)
        if best_is_positive:
            # Each box claims its best candidate; of two that claim the same one the closer box gets it.
            top, place = iou.max(dim=0)
            claims = torch.zeros_like(iou)
            claims[place, torch.arange(len(boxes), device=iou.device)] = top
            claim, claimant = claims.max(dim=1)
            rows = torch.where(claim > 0, claimant, rows)
            labels = torch.where(claim > 0, classes[rows], labels)
    undecided = torch.zeros_like(labels, dtype=torch.bool)
    if size is not None:
        limits = candidates.new_tensor([*reversed(size)])
        low, high = candidates.chunk(2, dim=1)
        middle = (low + high) / 2
        undecided |= ((middle < 0) | (middle >= limits)).any(dim=1)
        candidates = torch.cat([low.clamp(min=0), high.minimum(limits)], dim=1)
    regions = target.get("ignore")
    if regions is not None and len(regions):
        regions = regions.to(candidates)
        undecided |= overlap(candidates, regions, "iobb").amax(dim=1) >= ignore_iobb
        undecided |= overlap(candidates, regions).amax(dim=1) >= bg_iou
    labels[undecided & (labels == 0)] = -1
    return labels, rows
