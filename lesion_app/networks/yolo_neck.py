"""YOLOv4's neck: spatial pyramid pooling on the deepest map, then path aggregation, top-down and bottom-up.

Sources: YOLOv4 (arXiv 2004.10934, section 3.4), SPP (He et al., 2014) as three max poolings beside the map itself,
PANet (Liu et al., 2018) with maps joined by concatenation (YOLOv4, figure 6). Layers are registered in the order of
Darknet's ``yolov4.cfg``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lesion_app.networks.csp_darknet import DarknetConv

POOL_SIZES = (13, 9, 5)


class SpatialPyramidPooling(nn.Module):
    """Three convolutions, the map beside its maxima over three windows, three convolutions.

    Args:
        in_channels: of the deepest map.
        out_channels: of the result; hidden layers have twice as many.
        norm_momentum: see :class:`lesion_app.networks.csp_darknet.DarknetConv`.
    """

    def __init__(self, in_channels: int, out_channels: int, norm_momentum: float) -> None:
        super().__init__()
        c = out_channels
        self.before = _convs(((in_channels, c, 1), (c, 2 * c, 3), (2 * c, c, 1)), norm_momentum)
        joined = c * (len(POOL_SIZES) + 1)
        self.after = _convs(((joined, c, 1), (c, 2 * c, 3), (2 * c, c, 1)), norm_momentum)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in_channels, H, W]`` -> ``[B, out_channels, H, W]``."""
        x = self.before(x)
        pooled = [F.max_pool2d(x, size, stride=1, padding=size // 2) for size in POOL_SIZES]
        return self.after(torch.cat((*pooled, x), dim=1))


class TopDown(nn.Module):
    """Joins a map of the backbone with the next deeper one of the neck, enlarged.

    Args:
        in_channels: of the backbone's map.
        out_channels: of the result; the deeper map has twice as many.
        factor: how much larger than the deeper map this one is.
        norm_momentum: as above.
    """

    def __init__(self, in_channels: int, out_channels: int, factor: int, norm_momentum: float) -> None:
        super().__init__()
        self.factor = factor
        self.reduce = DarknetConv(2 * out_channels, out_channels, norm_momentum=norm_momentum)
        self.lateral = DarknetConv(in_channels, out_channels, norm_momentum=norm_momentum)
        self.mix = _five(2 * out_channels, out_channels, norm_momentum)

    def forward(self, map_: Tensor, deeper: Tensor) -> Tensor:
        """Join ``[B, in_channels, H, W]`` with ``[B, 2 out_channels, H / factor, W / factor]``.

        Returns:
            ``[B, out_channels, H, W]``.
        """
        enlarged = F.interpolate(self.reduce(deeper), scale_factor=float(self.factor), mode="nearest")
        return self.mix(torch.cat((self.lateral(map_), enlarged), dim=1))


class BottomUp(nn.Module):
    """Joins a top-down map with the next shallower result, reduced; arguments as for :class:`TopDown`."""

    def __init__(self, out_channels: int, factor: int, norm_momentum: float) -> None:
        super().__init__()
        self.down = DarknetConv(out_channels // 2, out_channels, 3, factor, norm_momentum=norm_momentum)
        self.mix = _five(2 * out_channels, out_channels, norm_momentum)

    def forward(self, map_: Tensor, shallower: Tensor) -> Tensor:
        """``[B, out_channels, H, W]``, ``[B, out_channels / 2, H factor, W factor]`` -> ``[B, out_channels, H, W]``."""
        return self.mix(torch.cat((self.down(shallower), map_), dim=1))


class YOLONeck(nn.Module):
    """Pyramid pooling and path aggregation over any of the strides 4, 8, 16, 32.

    Args:
        in_channels: ``{stride: channels}`` of the backbone's maps.
        strides: of the results, rising, each 2 or 4 times the one before and the last the backbone's deepest.
        out_channels: of the deepest result; every shallower one has half (512, 256, 128 as published).
        norm_momentum: as above.
    """

    def __init__(
        self, in_channels: Mapping[int, int], strides: Sequence[int], out_channels: int, norm_momentum: float
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        width = [out_channels // 2 ** (len(strides) - 1 - i) for i in range(len(strides))]
        factors = [deep // shallow for shallow, deep in pairwise(strides)]
        self.out_channels = width
        self.pyramid_pooling = SpatialPyramidPooling(in_channels[strides[-1]], out_channels, norm_momentum)
        # From deep to shallow, as they are run.
        self.top_down = nn.ModuleList(
            TopDown(in_channels[strides[i]], width[i], factors[i], norm_momentum)
            for i in reversed(range(len(strides) - 1))
        )
        self.bottom_up = nn.ModuleList(
            BottomUp(width[i + 1], factors[i], norm_momentum) for i in range(len(strides) - 1)
        )

    def forward(self, maps: Mapping[int, Tensor]) -> list[Tensor]:
        """Maps of the backbone by stride -> ``[B, out_channels[i], H / strides[i], W / strides[i]]`` of each stride."""
        down = [self.pyramid_pooling(maps[self.strides[-1]])]
        for stride, step in zip(reversed(self.strides[:-1]), self.top_down):
            down.append(step(maps[stride], down[-1]))
        down.reverse()
        results = [down[0]]
        for map_, step in zip(down[1:], self.bottom_up):
            results.append(step(map_, results[-1]))
        return results


def _five(in_channels: int, out_channels: int, norm_momentum: float) -> nn.Sequential:
    c = out_channels
    layers = ((in_channels, c, 1), (c, 2 * c, 3), (2 * c, c, 1), (c, 2 * c, 3), (2 * c, c, 1))
    return _convs(layers, norm_momentum)


def _convs(layers: Sequence[tuple[int, int, int]], norm_momentum: float) -> nn.Sequential:
    """Convolutions of (in, out, kernel) one after the other."""
    return nn.Sequential(*(DarknetConv(*layer, norm_momentum=norm_momentum) for layer in layers))
