"""Anchors on a single feature map, in MULAN's sizes and ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList


def base_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float], stride: int) -> Tensor:
    """Anchors ``[A, 4]`` (x1, y1, x2, y2) in px around the origin, ratios outermost, sizes within.

    As in MULAN and the original Faster R-CNN, shapes are enumerated and rounded on a base square of
    ``stride`` px and then scaled: at stride 4 the ratios 0.5 and 2 (height / width) give 24 x 12 and
    12 x 24 for size 16, an area of 18/16 of the nominal one.
    """
    rows = []
    for ratio in aspect_ratios:
        width = float(math.floor(math.sqrt(stride * stride / ratio) + 0.5))
        height = float(math.floor(width * ratio + 0.5))
        for size in sizes:
            w, h = width * size / stride, height * size / stride
            rows.append((-w / 2, -h / 2, w / 2, h / 2))
    return torch.tensor(rows)


class SingleLevelAnchors(nn.Module):
    """Anchor generator with torchvision's interface for one map of fixed stride.

    Args:
        sizes: side of the square anchors in px (of the network's input).
        aspect_ratios: height / width.
        stride: px of the input a cell of the map covers; anchors are centred on the cells.
    """

    base: Tensor

    def __init__(self, sizes: Sequence[float], aspect_ratios: Sequence[float], stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.register_buffer("base", base_anchors(sizes, aspect_ratios, stride), persistent=False)

    def num_anchors_per_location(self) -> list[int]:
        """Number of anchors in a cell, as a list with one entry (one level)."""
        return [int(self.base.shape[0])]

    def forward(self, images: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Anchors ``[cells * A, 4]`` for every image of the batch; the same tensor is shared by all."""
        (feature_map,) = feature_maps
        height, width = feature_map.shape[-2:]
        return [self.on_map(height, width, feature_map.device)] * len(images.image_sizes)

    def on_map(self, height: int, width: int, device: torch.device) -> Tensor:
        """Anchors ``[height * width * A, 4]`` of a map of ``height`` x ``width`` cells."""
        base = self.base.to(device)
        x = (torch.arange(width, device=base.device) + 0.5) * self.stride
        y = (torch.arange(height, device=base.device) + 0.5) * self.stride
        yy, xx = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack((xx, yy, xx, yy), dim=-1).reshape(-1, 1, 4)
        return (centres + base).reshape(-1, 4)
