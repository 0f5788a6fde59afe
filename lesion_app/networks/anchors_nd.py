"""Anchors on the levels of a feature pyramid, for images and volumes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lesion_app.networks.pyramid import DETECTION_LEVELS
from lesion_app.networks.resnet_nd import level_stride


class PyramidAnchors:
    """Anchors of sizes x ratios around the centre of every cell of levels P2 to P5.

    Jaeger et al., "Retina U-Net", section 3.1: sides 4, 8, 16, 32 in plane and 1, 2, 4, 8 along z; RetinaNet's three
    sub-scales (Lin et al., "Focal loss", ICCV 2017, section 4) multiply both.

    Args:
        dim: 2 or 3.
        sizes: px in plane, one a level.
        sizes_z: slices, one a level; read in 3D only.
        scales: factors of the sizes on each level.
        ratios: height / width, at an equal area.

    Raises:
        ValueError: not one positive size a level.
    """

    def __init__(
        self,
        dim: int,
        sizes: Sequence[float] = (4, 8, 16, 32),
        sizes_z: Sequence[float] = (1, 2, 4, 8),
        scales: Sequence[float] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3)),
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
    ) -> None:
        for given in (sizes, sizes_z):
            if len(given) != len(DETECTION_LEVELS) or min(given) <= 0:
                raise ValueError(f"anchors need {len(DETECTION_LEVELS)} positive sizes, one a level, got {list(given)}")
        if not scales or not ratios or min(*scales, *ratios) <= 0:
            raise ValueError(f"anchors need positive scales and ratios, got {list(scales)} and {list(ratios)}")
        self.dim = dim
        self.sizes = tuple(sizes)
        self.per_cell = len(scales) * len(ratios)
        scale = torch.tensor(scales, dtype=torch.float64).repeat_interleave(len(ratios))
        root = torch.tensor(ratios, dtype=torch.float64).sqrt().repeat(len(scales))
        self._half: list[Tensor] = []
        for size, size_z in zip(sizes, sizes_z):
            sides = [size * scale / root, size * scale * root, size_z * scale][:dim]  # x, y(, z)
            self._half.append((torch.stack(sides, dim=1) / 2).float())

    def __call__(self, maps: Sequence[Tensor]) -> Tensor:
        """All anchors ``[A, 2 * dim]``, float32 px or voxels of the input, half-open.

        Args:
            maps: P2 ... P5, ``[B, C, (D,) H, W]``. Anchors go level by level, within it in the order of the cells
                ((z,) y, x), within a cell by scale, then ratio.
        """
        parts = []
        for level, half, features in zip(DETECTION_LEVELS, self._half, maps):
            axes = [
                (torch.arange(n, device=features.device, dtype=torch.float32) + 0.5) * stride
                for n, stride in zip(features.shape[2:], level_stride(level, self.dim))
            ]
            centres = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1).reshape(-1, 1, self.dim)
            reach = half.to(features.device)
            parts.append(torch.cat([centres - reach, centres + reach], dim=2).flatten(0, 1))
        return torch.cat(parts)
