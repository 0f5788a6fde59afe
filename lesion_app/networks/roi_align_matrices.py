"""RoIAlign whose gradient is two matrix products: what training on CPUs spends most of its time on otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import roi_align

from lesion_app.networks.roi_align_rows import axis_samples


def roi_align_matrices(
    features: Tensor, boxes: Sequence[Tensor], output_size: int, spatial_scale: float, sampling_ratio: int
) -> Tensor:
    """RoIAlign (He et al., Mask R-CNN, section 3): values and gradient of ``torchvision.ops.roi_align(aligned=False)``.

    Bilinear sampling is separable: with D ``[P, H]`` and A ``[P, W]``, the weights that a box's cells give to the lines
    and columns of the map, a channel F is pooled to D F A^T, and the gradient G of the cells goes back as D^T G A.
    torchvision's CPU kernel adds it up value by value instead.

    Args:
        features: ``[B, C, H, W]``.
        boxes: B tensors ``[R, 4]``, px of the image; no gradient flows to them.
        output_size: cells P along each side of a box.
        spatial_scale: map cells per px of the image.
        sampling_ratio: samples along each side of an output cell.

    Returns:
        ``[sum R, C, P, P]`` in the dtype of ``features``; computed in float32.
    """
    counts = tuple(len(b) for b in boxes)
    return _RoIAlign.apply(features, torch.cat(list(boxes)), counts, output_size, spatial_scale, sampling_ratio)  # type: ignore[no-any-return, no-untyped-call]


class _RoIAlign(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, boxes: Tensor, counts: tuple[int, ...], cells: int, scale: float, ratio: int
    ) -> Tensor:
        ctx.save_for_backward(boxes)
        ctx.shape, ctx.counts, ctx.cells, ctx.scale, ctx.ratio = features.shape, counts, cells, scale, ratio
        # torchvision's kernel knows no bfloat16 on CPUs.
        return roi_align(features.float(), list(boxes.float().split(counts)), cells, scale, ratio).to(features.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:  # type: ignore[override]
        (boxes,) = ctx.saved_tensors
        _, channels, height, width = ctx.shape
        scaled = boxes.float() * ctx.scale
        across = _axis_weights(scaled[:, 0], scaled[:, 2], width, ctx.cells, ctx.ratio)
        down = _axis_weights(scaled[:, 1], scaled[:, 3], height, ctx.cells, ctx.ratio)
        found = gradient.new_zeros(ctx.shape, dtype=torch.float32)
        parts = zip(gradient.float().split(ctx.counts), across.split(ctx.counts), down.split(ctx.counts))
        for image, (cells, columns, lines) in enumerate(parts):  # over the few images of a batch
            spread = torch.einsum("rcyx,rxw->rycw", cells, columns).flatten(0, 1).flatten(1)  # [R * P, C * W]
            found[image] = (lines.flatten(0, 1).T @ spread).view(height, channels, width).transpose(0, 1)
        return found.to(gradient.dtype), None, None, None, None, None


def _axis_weights(start: Tensor, end: Tensor, extent: int, cells: int, ratio: int) -> Tensor:
    """What a box's cells take from the places of one axis, ``[R, cells, extent]``."""
    low, high, upper, inside = axis_samples(start, end, extent, cells, ratio)
    weights = start.new_zeros(len(start), cells, extent)
    weights.scatter_add_(2, low, (1 - upper) * inside / ratio)
    return weights.scatter_add_(2, high, upper * inside / ratio)
