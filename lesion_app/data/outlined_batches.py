"""Training batches whose labelled boxes have masks, for data sets that only have boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from lesion_app.boxes.ellipsoid_masks import LabelMasks, ellipsoid_masks
from lesion_app.data.batches import prepare_student_batch, student_target
from lesion_app.errors import InputError


def prepare_outlined_batch(
    batch: Sequence[dict[str, Any]],
    device: str | torch.device,
    non_blocking: bool = False,
    *,
    masks: LabelMasks = "ellipse",
    padding_px: float = 0.0,
    **_: Any,
) -> tuple[list[Tensor], list[dict[str, Tensor]], tuple[list[dict[str, Tensor]]], dict[str, Any]]:
    """``prepare_student_batch`` with ``masks`` [K, H, W] of the K labelled boxes of every target.

    Boxes that a teacher mined stand behind the labelled ones and get none, so that the segmentation loss leaves their
    pixels out. MULAN (Yan et al., MICCAI 2019, section 2) outlines DeepLesion's lesions by ellipses, too, there from
    the RECIST diameters.

    Args:
        masks: ``ellipse`` = the ellipse that fills the label (see ``ellipsoid_masks``); ``none`` = no masks.
        padding_px: margin of the labels around the lesion in px of the original slice, taken off first.

    Raises:
        InputError: another word for ``masks``.
    """
    if masks not in get_args(LabelMasks):
        raise InputError(f"label_masks is '{masks}'; expected one of {', '.join(get_args(LabelMasks))}")
    slabs, targets, inputs, options = prepare_student_batch(batch, device, non_blocking)
    if masks == "none":
        return slabs, targets, inputs, options
    for item, slab, target in zip(batch, slabs, targets):
        # Boxes cut off by the student's view are gone from the target; labels alone tell how many of them are left.
        labelled = student_target({k: v for k, v in item.items() if k != "target"})["boxes"]
        view = item.get("student_view", item.get("view"))
        scale = torch.ones(2) if view is None else torch.tensor([view.scale_x, view.scale_y])
        boxes = target["boxes"][: len(labelled)]
        target["masks"] = ellipsoid_masks(boxes, slab.shape[-2:], padding_px * scale.to(boxes))
    return slabs, targets, inputs, options
