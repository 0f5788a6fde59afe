"""A dense block for inference: normalisation folded, one buffer instead of ever longer concatenations.

torchvision's block joins all earlier maps anew for every layer. Here every layer writes its channels into one buffer
whose channels lie side by side in memory, and reads what is in front of them as a view.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

BATCH_NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)


def scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Batch normalisation in evaluation as ``x * scale + shift``, float64 ``[C]`` each."""
    weight, bias, mean, variance = (
        getattr(norm, name).detach().double() for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight * torch.rsqrt(variance + norm.eps)
    return scale, bias - mean * scale


def fold(conv: nn.Conv2d, norm: nn.Module) -> nn.Conv2d:
    """A convolution that does what ``conv`` and the batch normalisation behind it do in evaluation."""
    scale, shift = scale_and_shift(norm)
    folded = copy.deepcopy(conv)
    if conv.bias is not None:
        shift = shift + conv.bias.detach().double() * scale
    folded.weight.data = (conv.weight.detach().double() * scale[:, None, None, None]).to(conv.weight)
    folded.bias = nn.Parameter(shift.to(conv.weight))
    return folded.requires_grad_(False)


def join(maps: Sequence[Tensor]) -> Tensor:
    """``torch.cat`` along channels of ``channels_last`` maps ``[N, C, H, W]``, by rows of channels (which is
    faster)."""
    return torch.cat([m.permute(0, 2, 3, 1) for m in maps], dim=3).permute(0, 3, 1, 2)


class NormRelu(nn.Module):
    """Batch normalisation in evaluation and ReLU, as one multiply-add and one clamp.

    Args:
        norm: the trained normalisation.
        dtype: of the maps.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        scale, shift = scale_and_shift(norm)
        self.register_buffer("scale", scale.to(dtype))
        self.register_buffer("shift", shift.to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Of ``[N, C, H, W]``; ``x`` stays as it is."""
        rows = torch.addcmul(self.shift, x.permute(0, 2, 3, 1), self.scale)
        return torch.relu_(rows).permute(0, 3, 1, 2)


class FoldedDenseBlock(nn.Module):
    """torchvision's ``_DenseBlock`` with batch normalisation, in evaluation.

    Args:
        block: the trained block.
        dtype: of weights and maps.
    """

    def __init__(self, block: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.first = nn.ModuleList()
        self.bottleneck = nn.ModuleList()
        self.growth = nn.ModuleList()
        for layer in block.children():
            self.first.append(NormRelu(layer.norm1, dtype))  # type: ignore[arg-type]
            self.bottleneck.append(fold(layer.conv1, layer.norm2))  # type: ignore[arg-type]
            self.growth.append(layer.conv2)  # type: ignore[arg-type]
        self.growth_rate = int(self.growth[0].out_channels)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` -> ``[N, C + layers * growth_rate, H, W]``, both ``channels_last``."""
        count, channels, height, width = x.shape
        full = channels + len(self.growth) * self.growth_rate
        buffer = x.new_empty((count, height, width, full)).permute(0, 3, 1, 2)
        buffer[:, :channels] = x
        for first, bottleneck, growth in zip(self.first, self.bottleneck, self.growth):
            new = growth(torch.relu_(bottleneck(first(buffer[:, :channels]))))
            buffer[:, channels : channels + self.growth_rate] = new
            channels += self.growth_rate
        return buffer


class FoldedTransition(nn.Module):
    """torchvision's ``_Transition`` with batch normalisation, in evaluation.

    The pooling goes before the 1x1 convolution, which is the same function on a quarter of the pixels.

    Args:
        transition: the trained one.
        dtype: of the maps.
    """

    def __init__(self, transition: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.first = NormRelu(transition.norm, dtype)  # type: ignore[arg-type]
        self.pool, self.conv = transition.pool, transition.conv

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` -> ``[N, C / 2, H / 2, W / 2]``."""
        return self.conv(self.pool(self.first(x)))  # type: ignore[operator, no-any-return]


def add_upsampled(fine: Tensor, coarse: Tensor) -> Tensor:
    """Add ``coarse`` ``[N, C, H, W]``, every cell copied to 2 x 2, to ``fine`` ``[N, C, 2H, 2W]`` in place, and return
    it.

    Nearest upsampling without ever making the large map. Both ``channels_last``.
    """
    cells = fine.permute(0, 2, 3, 1).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
    cells += coarse.permute(0, 2, 3, 1)[:, :, None, :, None]
    return fine
