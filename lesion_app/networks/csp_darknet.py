"""CSPDarknet53, the backbone of YOLOv4: Darknet-53 whose stages split their channels in two and join them again.

Sources: YOLOv4 (Bochkovskiy et al., arXiv 2004.10934, section 3.4 and table 1), CSPNet (Wang et al., arXiv 1911.11929),
Mish (Misra, arXiv 1908.08681). Layers are registered in the order of Darknet's ``yolov4.cfg``, which is the order of
its weight files.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS = (64, 128, 256, 512, 1024)
BLOCKS = (1, 2, 8, 8, 4)
STRIDES = (2, 4, 8, 16, 32)
_NORM_EPS = 1e-5
_LEAK = 0.1


class DarknetConv(nn.Module):
    """Convolution without bias, BatchNorm and activation: Darknet's ``[convolutional]`` with ``batch_normalize=1``.

    Args:
        in_channels, out_channels: of the convolution.
        kernel: 1 or 3; padded so that stride 1 keeps the size.
        stride: of the convolution.
        activation: ``mish`` (backbone) or ``leaky`` (neck and heads; slope 0.1).
        norm_momentum: share of a new batch in BatchNorm's running statistics.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        activation: str = "leaky",
        norm_momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=_NORM_EPS, momentum=norm_momentum)
        self.activation: nn.Module = nn.Mish() if activation == "mish" else nn.LeakyReLU(_LEAK)
        nn.init.kaiming_normal_(self.conv.weight, a=_LEAK)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in_channels, H, W]`` -> ``[B, out_channels, H / stride, W / stride]``."""
        return self.activation(self.norm(self.conv(x)))


class Residual(nn.Module):
    """1x1 and 3x3 convolution with a shortcut around both."""

    def __init__(self, channels: int, hidden: int, norm_momentum: float) -> None:
        super().__init__()
        self.squeeze = DarknetConv(channels, hidden, 1, 1, "mish", norm_momentum)
        self.expand = DarknetConv(hidden, channels, 3, 1, "mish", norm_momentum)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, channels, H, W]``, likewise out."""
        return x + self.expand(self.squeeze(x))


class CSPStage(nn.Module):
    """Halves the resolution, sends one part of the channels through residual blocks and the other past them.

    Args:
        in_channels, out_channels: of the stage.
        blocks: residual blocks.
        whole: both parts keep all channels and the blocks' hidden layer has half of them (the first stage); else each
            part has half of them.
        norm_momentum: see :class:`DarknetConv`.
    """

    def __init__(self, in_channels: int, out_channels: int, blocks: int, whole: bool, norm_momentum: float) -> None:
        super().__init__()
        part = out_channels if whole else out_channels // 2
        hidden = out_channels // 2

        def mish(c_in: int, c_out: int, kernel: int = 1, stride: int = 1) -> DarknetConv:
            return DarknetConv(c_in, c_out, kernel, stride, "mish", norm_momentum)

        self.down = mish(in_channels, out_channels, 3, 2)
        self.past = mish(out_channels, part)
        self.into = mish(out_channels, part)
        self.blocks = nn.Sequential(*(Residual(part, hidden, norm_momentum) for _ in range(blocks)))
        self.after = mish(part, part)
        self.join = mish(2 * part, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in_channels, H, W]`` -> ``[B, out_channels, H / 2, W / 2]``."""
        x = self.down(x)
        return self.join(torch.cat((self.after(self.blocks(self.into(x))), self.past(x)), dim=1))


class CSPDarknet53(nn.Module):
    """The backbone: feature maps at strides 4, 8, 16 and 32.

    Args:
        in_channels: channels of the image.
        width: factor on all channels (rounded to multiples of 8); 1 = published, less for small networks.
        depth: factor on the residual blocks of a stage (at least one); 1 = published.
        norm_momentum: see :class:`DarknetConv`.
    """

    def __init__(
        self, in_channels: int = 3, width: float = 1.0, depth: float = 1.0, norm_momentum: float = 0.1
    ) -> None:
        super().__init__()
        channels = [scaled(c, width) for c in (CHANNELS[0] // 2, *CHANNELS)]
        self.stem = DarknetConv(in_channels, channels[0], 3, 1, "mish", norm_momentum)
        self.stages = nn.ModuleList(
            CSPStage(channels[i], channels[i + 1], max(1, round(blocks * depth)), i == 0, norm_momentum)
            for i, blocks in enumerate(BLOCKS)
        )
        self.out_channels = dict(zip(STRIDES, channels[1:]))

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        """``[B, in_channels, H, W]``, H and W multiples of 32 -> maps ``{stride: [B, C, H / stride, W / stride]}``."""
        x = self.stem(image)
        maps = {}
        for stride, stage in zip(STRIDES, self.stages):
            x = stage(x)
            maps[stride] = x
        return maps


def scaled(channels: int, width: float) -> int:
    """``channels * width`` rounded to a multiple of 8, at least 8."""
    return max(8, round(channels * width / 8) * 8)
