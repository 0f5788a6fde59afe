"""Masks out of boxes: the ellipse or ellipsoid that fills each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

LabelMasks = Literal["ellipse", "none"]
"""How boxes without a mask are outlined."""


def ellipsoid_masks(boxes: Tensor, size: Sequence[int], padding: Tensor | float = 0.0) -> Tensor:
    """The ellipse (2D) or ellipsoid (3D) that fills each box.

    Args:
        boxes: ``[N, 4 | 6]`` (x1, y1(, z1), x2, y2(, z2)) px or voxels, half-open.
        size: ((D,) H, W).
        padding: taken off every side first, one number or one for each of x, y(, z); a side keeps 1 px at least.

    Returns:
        bool ``[N, (D,) H, W]``: pixels whose centre lies inside, and for each box the one its middle lies in (unless
        that is outside the image).
    """
    dim = len(size)
    low, high = boxes.chunk(2, dim=1)
    centre = (low + high) / 2
    half = ((high - low) / 2 - torch.as_tensor(padding, dtype=boxes.dtype, device=boxes.device)).clamp(min=0.5)
    distance: Tensor | None = None
    middle: Tensor | None = None
    for axis in range(dim):  # x is the last dimension
        place = torch.arange(size[dim - 1 - axis], dtype=boxes.dtype, device=boxes.device)
        shape = (len(boxes), *[len(place) if d == dim - 1 - axis else 1 for d in range(dim)])
        along = (((place + 0.5 - centre[:, axis : axis + 1]) / half[:, axis : axis + 1]) ** 2).reshape(shape)
        here = (place == centre[:, axis : axis + 1].floor()).reshape(shape)
        distance = along if distance is None else distance + along
        middle = here if middle is None else middle & here
    assert distance is not None  # dim is 2 or 3
    assert middle is not None
    return (distance <= 1) | middle
