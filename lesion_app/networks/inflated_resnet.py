"""ResNet-18 for volumes, its filters blown up from those of images.

The trunk of LENS's false-positive reduction (Yan et al., IEEE TMI 40(10), 2021, section IV-D): 3 x 3 filters become
1 x 3 x 3 in blocks 1 to 3 and 3 x 3 x 3 in block 4, initialised from ImageNet by inflation (section VI-B; Carreira and
Zisserman, "Quo vadis, action recognition?", CVPR 2017: a filter is repeated along the new axis and divided by its
length).
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.error import URLError

from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.models import ResNet18_Weights

from lesion_app.errors import InputError

STRIDES = (4, 8, 16, 32)
"""Voxels of the input, in plane, per feature voxel of blocks 1 to 4; along z every slice is kept."""


class InflatedResNet18(nn.Module):
    """Features of a volume from four blocks; layers bear torchvision's names.

    Convolutions and pooling stride in plane only. Along z the end slices are repeated, not padded with zeros, so that
    on a volume constant along z an inflated network answers as the 2D network does on its slice.

    Args:
        in_channels: 1 for CT; inflation then adds up the three colours' filters, which is a grey image in all three.
        z_kernels: length of the 3 x 3 filters along z in each of the four blocks, odd.
        width: channels of the first block, doubled in each further one; 64 is ResNet-18.
        pretrained: start from torchvision's ImageNet weights.

    Raises:
        InputError: ``pretrained`` and the weights cannot be had or do not fit.
        ValueError: other than four odd ``z_kernels``.
    """

    def __init__(
        self, in_channels: int = 1, z_kernels: Sequence[int] = (1, 1, 1, 3), width: int = 64, pretrained: bool = True
    ) -> None:
        super().__init__()
        if len(z_kernels) != 4 or any(k < 1 or k % 2 == 0 for k in z_kernels):
            raise ValueError(f"z_kernels are four odd numbers, one a block, got {list(z_kernels)}")
        self.out_channels = tuple(width * 2**block for block in range(4))
        self.conv1 = InflatedConv(in_channels, width, 7, 1, stride=2)
        self.bn1 = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        before = width
        for block, (channels, z_kernel) in enumerate(zip(self.out_channels, z_kernels)):
            stride = 1 if block == 0 else 2
            layer = nn.Sequential(
                InflatedBlock(before, channels, z_kernel, stride), InflatedBlock(channels, channels, z_kernel)
            )
            self.add_module(f"layer{block + 1}", layer)
            before = channels
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if pretrained:
            load_resnet18(self)

    def forward(self, volumes: Tensor) -> list[Tensor]:
        """Volumes [N, in_channels, D, H, W] -> features of blocks 1 to 4, [N, C, D, H / s, W / s] (rounded up) each."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(volumes))))
        features = []
        for block in range(1, 5):
            x = self.get_submodule(f"layer{block}")(x)
            features.append(x)
        return features


class InflatedConv(nn.Conv3d):
    """Convolution of ``z_kernel`` x ``kernel`` x ``kernel`` without bias, strided in plane, end slices repeated."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, z_kernel: int, stride: int = 1) -> None:
        super().__init__(
            in_channels,
            out_channels,
            (z_kernel, kernel, kernel),
            stride=(1, stride, stride),
            padding=(0, kernel // 2, kernel // 2),
            bias=False,
        )
        self.z_reach = z_kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        if self.z_reach:
            x = pad(x, (0, 0, 0, 0, self.z_reach, self.z_reach), mode="replicate")
        return super().forward(x)


class InflatedBlock(nn.Module):
    """ResNet's basic block (He et al., CVPR 2016, figure 2): two convolutions beside a shortcut."""

    def __init__(self, in_channels: int, channels: int, z_kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = InflatedConv(in_channels, channels, 3, z_kernel, stride)
        self.bn1 = nn.BatchNorm3d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = InflatedConv(channels, channels, 3, z_kernel)
        self.bn2 = nn.BatchNorm3d(channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(InflatedConv(in_channels, channels, 1, 1, stride), nn.BatchNorm3d(channels))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


def load_resnet18(network: InflatedResNet18) -> None:
    """Inflate torchvision's ImageNet weights of ResNet-18 into ``network``, in place.

    Raises:
        InputError: when the weights are neither cached nor downloadable, or do not fit.
    """
    weights = ResNet18_Weights.IMAGENET1K_V1
    try:
        state = weights.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise InputError(
            f"ImageNet weights of ResNet-18 could not be loaded ({type(error).__name__}); connect to the internet "
            f"once, or put {weights.url.rsplit('/', 1)[-1]} into torch's hub checkpoint folder "
            "($TORCH_HOME/hub/checkpoints), or train from scratch with pretrained: false"
        ) from error
    load_inflated_state(network, state)


def load_inflated_state(network: InflatedResNet18, state: dict[str, Tensor]) -> None:
    """Load a torchvision ResNet-18 state dict of images into ``network``; the classifier ``fc`` is left out.

    Raises:
        InputError: when a tensor of the network is missing or has another shape.
    """
    own = network.state_dict()
    inflated = {key: _inflate(value, own[key]) for key, value in state.items() if key in own}
    unfit = [key for key, value in own.items() if key not in inflated or inflated[key].shape != value.shape]
    if unfit:
        raise InputError(
            f"the weights do not fit this network: {len(unfit)} of {len(own)} tensors are missing or differ in shape "
            f"(first: {unfit[0]}); ImageNet weights need width 64 and 1 or 3 input channels, any other network "
            "pretrained: false"
        )
    network.load_state_dict(inflated)


def _inflate(value: Tensor, own: Tensor) -> Tensor:
    """A filter [O, I, h, w] as [O, I, z, h, w] of unchanged sum; anything else as it is."""
    if value.ndim != 4 or own.ndim != 5:
        return value
    if own.shape[1] == 1 and value.shape[1] == 3:
        value = value.sum(dim=1, keepdim=True)
    length = own.shape[2]
    return value[:, :, None].repeat(1, 1, length, 1, 1) / length
