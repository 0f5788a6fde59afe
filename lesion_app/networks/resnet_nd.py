"""ResNet-18 and ResNet-50 for images and volumes: the encoder of Retina U-Net and its peers.

He et al., "Deep residual learning for image recognition", CVPR 2016, table 1, in the form that Jaeger et al. ("Retina
U-Net", ML4H 2019, section 3) share among all their detectors. MONAI's ResNet strides alike along all axes; here the
first two strides of a volume are in plane only, so that slices far apart are not merged before the first block.
"""

from __future__ import annotations

from typing import Literal

from monai.networks.layers.factories import Conv, Pool
from monai.networks.layers.utils import get_norm_layer
from torch import Tensor, nn

NormName = Literal["none", "instance", "batch"]
_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
LEVELS = (0, 1, 2, 3, 4, 5)
"""Resolutions of encoder and pyramid; level j is strided by 2^j in plane."""


def level_stride(level: int, dim: int) -> tuple[int, ...]:
    """Voxels of the input per feature voxel: (y, x), or (z, y, x) with z = 1, 1, 1, 2, 4, 8 on levels 0 to 5."""
    plane = 2**level
    return (plane, plane) if dim == 2 else (2 ** max(level - 2, 0), plane, plane)


class ResNetND(nn.Module):
    """Feature maps C1 ... C5, and C0 at full resolution where a U-FPN wants it.

    Args:
        dim: 2 or 3.
        in_channels: of the input.
        depth: 18 or 50.
        width: filters of the first layer and block (64 in He et al.; 48 in 2D and 18 in 3D in Retina U-Net's program).
        norm: ``none`` (the paper's program), ``instance`` or ``batch``.
        full_resolution: also compute C0, two 3 x 3 convolutions before the first stride.

    Raises:
        ValueError: another dim, depth or norm.
    """

    def __init__(
        self,
        dim: int = 2,
        in_channels: int = 1,
        depth: int = 50,
        width: int = 48,
        norm: NormName = "none",
        full_resolution: bool = False,
    ) -> None:
        super().__init__()
        if dim not in (2, 3) or depth not in _BLOCKS or norm not in ("none", "instance", "batch"):
            raise ValueError(
                f"expected dim 2 or 3, depth 18 or 50 and norm none, instance or batch, got {dim}, {depth} and {norm!r}"
            )
        self.dim = dim
        first = level_stride(1, dim)
        self.c0: nn.Module | None = None
        if full_resolution:
            self.c0 = nn.Sequential(
                conv_block(dim, in_channels, width, 3, norm=norm), conv_block(dim, width, width, 3, norm=norm)
            )
        self.c1 = conv_block(dim, width if full_resolution else in_channels, width, 7, stride=first, norm=norm)
        pool = Pool[Pool.MAX, dim](kernel_size=3, stride=first, padding=1)
        expansion = 1 if depth == 18 else 4
        self.channels = {1: width}
        if full_resolution:
            self.channels[0] = width
        before = width
        for place, blocks in enumerate(_BLOCKS[depth]):
            inner = width * 2**place
            stride = 1 if place == 0 else 2
            layers = [
                ResidualBlock(
                    dim, before if n == 0 else inner * expansion, inner, expansion, stride if n == 0 else 1, norm
                )
                for n in range(blocks)
            ]
            self.add_module(f"c{place + 2}", nn.Sequential(*([pool] if place == 0 else []), *layers))
            before = self.channels[place + 2] = inner * expansion

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """``[B, in_channels, (D,) H, W]`` -> maps by level, finest first."""
        maps = {}
        if self.c0 is not None:
            x = maps[0] = self.c0(x)
        for level in LEVELS[1:]:
            x = maps[level] = self.get_submodule(f"c{level}")(x)
        return maps


class ResidualBlock(nn.Module):
    """Basic block (expansion 1) or bottleneck (expansion 4) of He et al., figure 5; the 3 x 3 layer strides."""

    def __init__(
        self, dim: int, in_channels: int, inner: int, expansion: int, stride: int = 1, norm: NormName = "none"
    ) -> None:
        super().__init__()
        out = inner * expansion
        if expansion == 1:
            layers = [
                conv_block(dim, in_channels, inner, 3, stride=stride, norm=norm),
                conv_block(dim, inner, out, 3, norm=norm, relu=False),
            ]
        else:
            layers = [
                conv_block(dim, in_channels, inner, 1, norm=norm),
                conv_block(dim, inner, inner, 3, stride=stride, norm=norm),
                conv_block(dim, inner, out, 1, norm=norm, relu=False),
            ]
        self.layers = nn.Sequential(*layers)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out:
            self.shortcut = conv_block(dim, in_channels, out, 1, stride=stride, norm=norm, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.layers(x) + self.shortcut(x))


def conv_block(
    dim: int,
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int | tuple[int, ...] = 1,
    norm: NormName = "none",
    relu: bool = True,
) -> nn.Sequential:
    """Convolution that keeps the size (before striding), normalisation if any, and ReLU."""
    layers = [
        Conv[Conv.CONV, dim](in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=norm == "none")
    ]
    if norm != "none":
        layers.append(get_norm_layer((norm, {"affine": True}), spatial_dims=dim, channels=out_channels))
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
