"""Cells of a feature map as anchor-free detectors see them: points that may lie in a lesion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import box_area


@dataclass(frozen=True)
class MapCells:
    """The cells of one map, row by row.

    Args:
        height, width: of the map.
        stride: px of the input that a cell covers.
        device: where tensors are made.
    """

    height: int
    width: int
    stride: int
    device: torch.device

    @classmethod
    def of(cls, features: Tensor, stride: int) -> MapCells:
        """Cells of a map ``[B, C, h, w]``."""
        return cls(features.shape[-2], features.shape[-1], stride, features.device)

    @property
    def centres(self) -> Tensor:
        """``[cells, 2]`` (x, y) px of the input."""
        x = (torch.arange(self.width, device=self.device) + 0.5) * self.stride
        y = (torch.arange(self.height, device=self.device) + 0.5) * self.stride
        yy, xx = torch.meshgrid(y, x, indexing="ij")
        return torch.stack((xx, yy), dim=-1).reshape(-1, 2)

    def in_image(self, size: tuple[int, int]) -> Tensor:
        """bool ``[cells]``: centre within the (H, W) px before padding."""
        return (self.centres < self.centres.new_tensor((size[1], size[0]))).all(dim=1)

    def in_boxes(self, boxes: Tensor) -> Tensor:
        """bool ``[cells, N]``: centre within the box (half-open)."""
        c = self.centres[:, None]
        return ((c >= boxes[:, :2]) & (c < boxes[:, 2:])).all(dim=2)

    def hold_centre(self, boxes: Tensor) -> Tensor:
        """bool ``[cells, N]``: the cell in which the box's centre lies."""
        from_centre = (boxes[:, :2] + boxes[:, 2:]) / 2 - self.centres[:, None]
        half = self.stride / 2
        return ((from_centre >= -half) & (from_centre < half)).all(dim=2)

    def distances_to(self, boxes: Tensor) -> Tensor:
        """``[cells, 4]``: from each cell's centre to its box's left, top, right, bottom, in cells.

        Args:
            boxes: ``[cells, 4]`` px.
        """
        centres = self.centres
        return torch.cat((centres - boxes[:, :2], boxes[:, 2:] - centres), dim=1) / self.stride

    def boxes_from(self, distances: Tensor) -> Tensor:
        """Boxes ``[..., cells, 4]`` px from such distances ``[..., cells, 4]``."""
        left_top, right_bottom = (distances * self.stride).split(2, dim=-1)
        return torch.cat((self.centres - left_top, self.centres + right_bottom), dim=-1)


def scaled_boxes(boxes: Tensor, ratio: float) -> Tensor:
    """Boxes ``[N, 4]`` with sides times ``ratio`` around the same centres."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) * (ratio / 2)
    return torch.cat((centre - half, centre + half), dim=1)


def smallest_claim(claims: Tensor, boxes: Tensor) -> Tensor:
    """Which box a cell learns from: the smallest of those that claim it (FCOS, section 3.1), -1 without one.

    Args:
        claims: bool ``[cells, N]``.
        boxes: ``[N, 4]``.

    Returns:
        int64 ``[cells]``.
    """
    if not len(boxes):
        return claims.new_full((len(claims),), -1, dtype=torch.int64)
    area, index = torch.where(claims, box_area(boxes), math.inf).min(dim=1)
    return torch.where(area.isinf(), -1, index)


def flat_cells(prediction: Tensor) -> Tensor:
    """``[B, C, h, w]`` -> ``[B, cells, C]``, at least float32: sums over a map are too much for half precision."""
    flat = prediction.flatten(2).transpose(1, 2)
    return flat.float() if flat.dtype in (torch.bfloat16, torch.float16) else flat


def two_layer_branch(in_channels: int, channels: int, out_channels: int, bias: float = 0.0) -> nn.Sequential:
    """A 3x3 and a 1x1 convolution with a ReLU between, weights from N(0, 0.01^2) as in torchvision's RPN.

    Args:
        in_channels, channels, out_channels: of the input, between the two, of the result.
        bias: what the last layer predicts before training.
    """
    first, last = nn.Conv2d(in_channels, channels, 3, padding=1), nn.Conv2d(channels, out_channels, 1)
    for conv in (first, last):
        nn.init.normal_(conv.weight, std=0.01)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    nn.init.constant_(last.bias, bias)  # type: ignore[arg-type]
    return nn.Sequential(first, nn.ReLU(), last)


def logit(probability: float) -> float:
    """The logit whose sigmoid is ``probability``."""
    return math.log(probability / (1 - probability))
