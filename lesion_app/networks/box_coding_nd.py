"""Boxes as offsets from anchors and back, in 2D and 3D."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_LARGEST_LOG = math.log(1000.0 / 16)
"""Largest log growth of a side, as in torchvision: beyond it exp() helps nobody."""


def encode_boxes(boxes: Tensor, anchors: Tensor, std: Sequence[float]) -> Tensor:
    """Offsets of ``boxes`` from ``anchors``: (centre shift / side) and log(side / side), both over ``std``.

    Girshick et al., "Rich feature hierarchies", CVPR 2014, appendix C, with as many axes as the boxes have.

    Args:
        boxes, anchors: ``[N, 4]`` (x1, y1, x2, y2) or ``[N, 6]`` (x1, y1, z1, x2, y2, z2), sides > 0.
        std: 2 numbers, of the shifts and of the logs; 0.1 and 0.2 in the paper's program.

    Returns:
        ``[N, 4 | 6]``, shifts first.
    """
    centre, side = _centre_and_side(boxes)
    anchor_centre, anchor_side = _centre_and_side(anchors)
    shift = (centre - anchor_centre) / anchor_side / std[0]
    return torch.cat([shift, (side / anchor_side).log() / std[1]], dim=-1)


def decode_boxes(offsets: Tensor, anchors: Tensor, std: Sequence[float]) -> Tensor:
    """The boxes that :func:`encode_boxes` made ``offsets`` of; sides grow 62.5-fold at most."""
    centre, side = _centre_and_side(anchors)
    shift, log = offsets.chunk(2, dim=-1)
    centre = centre + shift * std[0] * side
    half = side * (log * std[1]).clamp(max=_LARGEST_LOG).exp() / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def _centre_and_side(boxes: Tensor) -> tuple[Tensor, Tensor]:
    low, high = boxes.chunk(2, dim=-1)
    return (low + high) / 2, high - low
