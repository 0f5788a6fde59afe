"""Resample slices in plane with their outer edges kept fixed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# Slices that are floats at one time, so that an int16 volume is never held as a float volume.
SLICES_AT_ONCE = 16


def resize_slices(image: Tensor, height: int, width: int) -> Tensor:
    """Resample [S, H, W] to [S, height, width], bilinear, antialiased where it shrinks.

    Edges stay edges, so the scale is exactly ``width / W`` and ``height / H`` (`View`). Integers are
    rounded. The number type is kept; memory is the result plus a few slices.
    """
    if image.shape[-2:] == (height, width):
        return image
    out = torch.empty((image.shape[0], height, width), dtype=image.dtype, device=image.device)
    for part, target in zip(image.split(SLICES_AT_ONCE), out.split(SLICES_AT_ONCE)):
        resampled = functional.interpolate(
            part[None].float(), size=(height, width), mode="bilinear", align_corners=False, antialias=True
        )[0]
        target.copy_(resampled if image.is_floating_point() else resampled.round_())
    return out
