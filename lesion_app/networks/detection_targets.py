"""What a detector of images or volumes may be trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def check_targets_nd(
    images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None, num_classes: int
) -> Sequence[dict[str, Tensor]]:
    """Refuse targets that would train in silence on nonsense; returns them.

    A target is ``{boxes [N, 2 * dim] float, labels [N] int64 in 1..num_classes, ignore [M, 2 * dim] (optional), masks
    [K, (D,) H, W] (optional)}``. Masks belong to the first K <= N boxes; boxes beyond them (a teacher's finds come
    last) and boxes whose mask has no pixel are boxes without a mask.

    Raises:
        ValueError: no targets, another number of them than images, wrong shapes or dtypes, a label out of range, or a
            box without area.
    """
    if targets is None or len(targets) != len(images):
        found = "none" if targets is None else str(len(targets))
        raise ValueError(f"training needs one target an image: {len(images)} images, {found} targets")
    for i, (image, target) in enumerate(zip(images, targets)):
        boxes, labels = target["boxes"], target["labels"]
        columns = 2 * (image.ndim - 1)
        if boxes.ndim != 2 or boxes.shape[1] != columns or not boxes.is_floating_point():
            raise ValueError(
                f"boxes of target {i} must be float [N, {columns}], got {boxes.dtype} {tuple(boxes.shape)}"
            )
        if labels.shape != boxes.shape[:1] or labels.dtype != torch.int64:
            raise ValueError(
                f"labels of target {i} must be int64 [{len(boxes)}], got {labels.dtype} {tuple(labels.shape)}"
            )
        if boxes.numel() and not bool((boxes[:, columns // 2 :] > boxes[:, : columns // 2]).all()):
            raise ValueError(f"target {i} holds a box without area: every first edge must be below its second")
        if labels.numel() and not bool(((labels >= 1) & (labels <= num_classes)).all()):
            raise ValueError(f"labels of target {i} must lie in 1..{num_classes}")
        masks = target.get("masks")
        if masks is not None and (len(masks) > len(boxes) or masks.shape[1:] != image.shape[1:]):
            size = list(image.shape[1:])
            raise ValueError(
                f"masks of target {i} must be [K, {str(size)[1:-1]}], K at most {len(boxes)}, got {list(masks.shape)}"
            )
    return targets


def has_mask(target: dict[str, Tensor]) -> Tensor:
    """Which boxes of a target have a mask with at least one pixel, bool ``[N]``."""
    boxes = target["boxes"]
    known = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    masks = target.get("masks")
    if masks is not None and len(masks):
        known[: len(masks)] = masks.to(boxes.device).flatten(1).any(dim=1)
    return known
