"""Feature pyramid (FPN) and its U-Net-like form (U-FPN) on a ResNet, for images and volumes.

Lin et al., "Feature pyramid networks for object detection", CVPR 2017; Jaeger et al., "Retina U-Net", ML4H 2019,
sections 3.1 and 3.2 and figure 1: levels P2 to P5 for detection, and in the U-FPN also P1 and P0, with their skip
connections, so that a loss at full resolution reaches the whole network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from lesion_app.networks.resnet_nd import LEVELS, NormName, ResNetND, level_stride

DETECTION_LEVELS = (2, 3, 4, 5)
"""Levels that the heads of all detectors read: those of the FPN."""


class PyramidBackbone(nn.Module):
    """From images or volumes of any size to the levels of the pyramid.

    Args:
        dim: 2 for slabs ``[S, H, W]`` whose slices are channels, 3 for volumes ``[C, D, H, W]``.
        in_channels: S or C; 7 = 2Dc, the slice and 3 neighbours on either side.
        depth, width, norm: of the encoder, see ``ResNetND``.
        pyramid_width: channels of every level (192 in 2D and 36 in 3D in the paper's program).
        levels: outputs, FPN [2, 3, 4, 5], U-FPN [0, 2, 3, 4, 5], plain U-Net [0].
        pixel_mean, pixel_std: intensities are (value - mean) / std inside.

    Raises:
        ValueError: levels other than some of 0 to 5, or a standard deviation that is not positive.
    """

    def __init__(
        self,
        dim: int = 2,
        in_channels: int = 1,
        depth: int = 50,
        width: int = 48,
        norm: NormName = "none",
        pyramid_width: int = 192,
        levels: Sequence[int] = DETECTION_LEVELS,
        pixel_mean: float = 0.0,
        pixel_std: float = 1.0,
    ) -> None:
        super().__init__()
        if not levels or set(levels) - set(LEVELS):
            raise ValueError(f"levels must be some of 0 to 5, got {list(levels)}")
        if not pixel_std > 0:
            raise ValueError(f"pixel_std must be positive, got {pixel_std}")
        self.dim = dim
        self.in_channels = in_channels
        self.out_channels = pyramid_width
        self.levels = tuple(sorted(levels))
        self.norm = norm
        self.pixel_mean = pixel_mean
        self.pixel_std = pixel_std
        self.encoder = ResNetND(dim, in_channels, depth, width, norm, full_resolution=self.levels[0] == 0)
        self.pyramid = FeaturePyramid(dim, self.encoder.channels, pyramid_width, self.levels)

    def require(self, levels: Sequence[int], what: str) -> None:
        """Raise ValueError when the pyramid lacks one of the ``levels`` that ``what`` needs."""
        if set(levels) - set(self.levels):
            raise ValueError(f"{what} needs the pyramid levels {list(levels)}, got a backbone of {list(self.levels)}")

    def forward(self, images: Sequence[Tensor], finest: int = 0) -> tuple[dict[int, Tensor], list[tuple[int, ...]]]:
        """Encode a batch.

        Args:
            images: ``[in_channels, (D,) H, W]`` float; sizes may differ.
            finest: levels finer than this are not computed.

        Returns:
            ``[B, pyramid_width, ...]`` by level, of the padded batch, and the sizes ((D,) H, W) before padding.

        Raises:
            ValueError: no image, or one of another number of dimensions or channels.
        """
        for image in images:
            if image.ndim != self.dim + 1 or image.shape[0] != self.in_channels:
                axes = "H, W" if self.dim == 2 else "D, H, W"
                raise ValueError(f"expected images [{self.in_channels}, {axes}], got {list(image.shape)}")
        if not images:
            raise ValueError("expected at least one image, got none")
        sizes = [tuple(int(n) for n in image.shape[1:]) for image in images]
        maps = self.encoder(self._batch(images, sizes))
        return self.pyramid(maps, finest), sizes

    def _batch(self, images: Sequence[Tensor], sizes: Sequence[tuple[int, ...]]) -> Tensor:
        strides = level_stride(5, self.dim)
        # Where there is a norm, two cells on the coarsest map at least: over a single voxel it is undefined.
        fewest = [1 if self.norm == "none" or axis < self.dim - 2 else 2 for axis in range(self.dim)]
        padded = [
            max(-(-max(size[axis] for size in sizes) // stride), least) * stride
            for axis, (stride, least) in enumerate(zip(strides, fewest))
        ]
        batch = images[0].new_zeros((len(images), self.in_channels, *padded))
        for row, image, size in zip(batch, images, sizes):
            row[(slice(None), *(slice(n) for n in size))] = (image - self.pixel_mean) / self.pixel_std
        return batch


class FeaturePyramid(nn.Module):
    """Top-down path with lateral 1 x 1 and smoothing 3 x 3 convolutions.

    Args:
        dim: 2 or 3.
        in_channels: of the encoder's maps by level.
        width: channels of every level.
        levels: outputs; those between them and the coarsest map are passed through without smoothing.
    """

    def __init__(self, dim: int, in_channels: dict[int, int], width: int, levels: Sequence[int]) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, dim]
        passed = sorted((j for j in in_channels if j >= min(levels)), reverse=True)
        self.lateral = nn.ModuleDict({str(j): conv(in_channels[j], width, 1) for j in passed})
        self.smooth = nn.ModuleDict({str(j): conv(width, width, 3, padding=1) for j in levels})

    def forward(self, maps: dict[int, Tensor], finest: int = 0) -> dict[int, Tensor]:
        """Outputs from level ``finest`` up, each ``[B, width, ...]`` of its encoder map's size."""
        wanted = [int(j) for j in self.smooth if int(j) >= finest]
        found: dict[int, Tensor] = {}
        above: Tensor | None = None
        for name, lateral in self.lateral.items():  # the coarsest first
            level = int(name)
            if level < min(wanted):
                break
            here = lateral(maps[level])
            if above is not None:
                here = here + F.interpolate(above, size=here.shape[2:], mode="nearest")
            above = here
            if level in wanted:
                found[level] = self.smooth[name](here)
        return found


def image_limits(size: Sequence[int], like: Tensor) -> Tensor:
    """Upper edges (x, y(, z)) of an image of ``size`` ((D,) H, W) as a tensor of ``like``'s kind."""
    return torch.tensor(list(reversed(size)), dtype=like.dtype, device=like.device)
