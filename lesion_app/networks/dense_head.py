"""Head that scores and moves the anchors of every cell of a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from lesion_app.networks.resnet_nd import conv_block


class DenseHead(nn.Module):
    """Two towers of 3 x 3 convolutions, for classes and for offsets, shared by all levels.

    RetinaNet's sub-networks (Lin et al., "Focal loss", ICCV 2017, section 4) with ``layers`` 4; the head of a region
    proposal network (Ren et al., "Faster R-CNN", 2015, section 3.1) with ``layers`` 1 and one tower for both.

    Args:
        dim: 2 or 3.
        in_channels: of the pyramid.
        anchors_per_cell: A.
        num_classes: with background, for a softmax over mutually exclusive classes.
        channels: of the towers.
        layers: convolutions of a tower before the last one.
        one_tower: classes and offsets share their convolutions but the last.
    """

    def __init__(
        self,
        dim: int,
        in_channels: int,
        anchors_per_cell: int,
        num_classes: int,
        channels: int = 256,
        layers: int = 4,
        one_tower: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.dim = dim
        kernel = 1 if one_tower else 3
        conv = Conv[Conv.CONV, dim]
        self.tower = _tower(dim, in_channels, channels, layers)
        self.box_tower = None if one_tower else _tower(dim, in_channels, channels, layers)
        self.classes = conv(channels, anchors_per_cell * num_classes, kernel, padding=kernel // 2)
        self.offsets = conv(channels, anchors_per_cell * 2 * dim, kernel, padding=kernel // 2)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits ``[B, anchors, num_classes]`` and offsets ``[B, anchors, 2 * dim]``, float32, anchors as in
        ``PyramidAnchors``."""
        logits, offsets = [], []
        for features in maps:
            hidden = self.tower(features)
            moved = hidden if self.box_tower is None else self.box_tower(features)
            logits.append(_rows(self.classes(hidden), self.num_classes))
            offsets.append(_rows(self.offsets(moved), 2 * self.dim))
        return torch.cat(logits, dim=1).float(), torch.cat(offsets, dim=1).float()


def _tower(dim: int, in_channels: int, channels: int, layers: int) -> nn.Sequential:
    widths = [in_channels] + [channels] * layers
    return nn.Sequential(*(conv_block(dim, a, b, 3) for a, b in pairwise(widths)))


def _rows(x: Tensor, columns: int) -> Tensor:
    """``[B, A * columns, ...]`` -> ``[B, cells * A, columns]``."""
    return x.flatten(2).transpose(1, 2).reshape(len(x), -1, columns)
