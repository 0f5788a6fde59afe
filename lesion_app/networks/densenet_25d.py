"""2.5D truncated DenseNet: three-slice images through a 2D trunk, fused across the slab.

The layout is MULAN's (Yan et al., MICCAI 2019; MULAN_universal_lesion_analysis in rsummers11/CADLab,
``densenet_custom_trunc.py`` and ``feature_fusion_3dce.py``), written anew:

* a slab of 3 M slices is cut into M images of three neighbouring slices, all encoded by the same trunk
  (DenseNet-121 up to dense block 3);
* first fusion, after transition 2: a 1x1 convolution over the M images' maps replaces the map of the
  *central* image only; the side images go on with their own;
* a feature pyramid without smoothing brings every image to one map at stride 4;
* second fusion: a 1x1 convolution over the M stride-4 maps gives the slab's map.

Because only the central path depends on its neighbours, an image's features up to transition 2 and its
side-path map can be computed once and shared by every slab that holds the image.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.densenet import _DenseBlock, _Transition

from lesion_app.networks.imagenet import load_densenet121_trunk
from lesion_app.networks.norms import NormKind, convert_norms


@dataclass
class SliceFeatures:
    """What one or several three-slice images share among all slabs they appear in.

    Args:
        stride4, stride8: outputs of dense blocks 1 and 2, ``[N, C, H / stride, W / stride]``.
        stride16: output of transition 2, before the first fusion.
        side_map: the stride-4 map the image contributes when it is *not* the centre of a slab; computed
            when first asked for (None until then).
    """

    stride4: Tensor
    stride8: Tensor
    stride16: Tensor
    side_map: Tensor | None = None

    def __len__(self) -> int:
        return self.stride16.shape[0]

    def split(self) -> list[SliceFeatures]:
        """One ``SliceFeatures`` of length 1 an image (views, no copies)."""
        sides: Sequence[Tensor | None] = [None] * len(self) if self.side_map is None else self.side_map.split(1)
        parts = zip(self.stride4.split(1), self.stride8.split(1), self.stride16.split(1), sides)
        return [SliceFeatures(*part) for part in parts]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors held; views count as their own size."""
        held = (self.stride4, self.stride8, self.stride16, self.side_map)
        return sum(t.numel() * t.element_size() for t in held if t is not None)


def _rows_of_channels(maps: Tensor) -> Tensor:
    """The same maps in the memory layout that CPUs convolve fastest; what follows keeps it. On GPUs left alone."""
    return maps.contiguous(memory_format=torch.channels_last) if maps.device.type == "cpu" else maps


class DenseNet25D(nn.Module):
    """Feature extractor of a 2.5D detector: slab in, one stride-4 map out.

    The defaults give 6,170,240 parameters (MULAN's extractor).

    Args:
        num_images: three-slice images a slab is cut into, odd (3 for nine slices).
        growth_rate, block_config, num_init_features, bn_size: DenseNet's own; small values make a small
            network of the same shape for CPUs.
        out_channels: width of the pyramid and of the result.
        norm: ``batch``, ``frozen`` or ``group`` (see :func:`convert_norms`).
        pretrained: load ImageNet weights of DenseNet-121 into the trunk.

    Raises:
        ValueError: when ``num_images`` is even or ``block_config`` has not three entries.
        InputError: when pretrained weights cannot be loaded or do not fit.
    """

    stride = 4
    size_divisible = 16

    def __init__(
        self,
        num_images: int = 3,
        growth_rate: int = 32,
        block_config: Sequence[int] = (6, 12, 24),
        num_init_features: int = 64,
        bn_size: int = 4,
        out_channels: int = 512,
        norm: NormKind = "batch",
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        if num_images % 2 == 0:
            raise ValueError(f"num_images must be odd so that a slab has a central image, got {num_images}")
        if len(block_config) != 3:
            raise ValueError(f"block_config needs three dense blocks, got {list(block_config)}")
        self.num_images = num_images
        self.out_channels = out_channels

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["conv0"] = nn.Conv2d(3, num_init_features, kernel_size=7, stride=2, padding=3, bias=False)
        layers["norm0"] = nn.BatchNorm2d(num_init_features)
        layers["relu0"] = nn.ReLU(inplace=True)
        layers["pool0"] = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        channels = num_init_features
        widths = []
        for i, depth in enumerate(block_config, start=1):
            layers[f"denseblock{i}"] = _DenseBlock(depth, channels, bn_size, growth_rate, drop_rate=0.0)
            channels += depth * growth_rate
            widths.append(channels)
            if i < 3:
                layers[f"transition{i}"] = _Transition(channels, channels // 2)
                channels //= 2
        fused_channels = widths[1] // 2
        self.trunk = nn.ModuleDict(layers)
        self.fuse_stride16 = nn.Conv2d(num_images * fused_channels, fused_channels, kernel_size=1)
        self.lateral4 = nn.Conv2d(widths[2], out_channels, kernel_size=1)
        self.lateral3 = nn.Conv2d(widths[1], out_channels, kernel_size=1)
        self.lateral2 = nn.Conv2d(widths[0], out_channels, kernel_size=1)
        self.fuse_maps = nn.Conv2d(num_images * out_channels, out_channels, kernel_size=1)

        for layer in self.trunk.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
        for conv in (self.fuse_stride16, self.lateral4, self.lateral3, self.lateral2, self.fuse_maps):
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        if pretrained:
            load_densenet121_trunk(self.trunk)
        convert_norms(self.trunk, norm)

    def forward(self, images: Tensor) -> Tensor:
        """Encode whole slabs.

        Args:
            images: ``[B, num_images, 3, H, W]``; H and W divisible by 16.

        Returns:
            ``[B, out_channels, H / 4, W / 4]``.
        """
        batch, m = images.shape[:2]
        features = self.slice_features(images.flatten(0, 1))
        deep = features.stride16
        fused = self.fuse_stride16(_rows_of_channels(deep.reshape(batch, m * deep.shape[1], *deep.shape[2:])))
        deep = deep.unflatten(0, (batch, m))
        centre = m // 2
        # One pass of block 3 over sides and centre together keeps batch statistics over all images.
        deep = torch.cat((deep[:, :centre], fused[:, None], deep[:, centre + 1 :]), dim=1).flatten(0, 1)
        maps = self._pyramid(features.stride4, features.stride8, deep)
        return self.fuse_maps(_rows_of_channels(maps.reshape(batch, m * maps.shape[1], *maps.shape[2:])))

    def slice_features(self, images: Tensor) -> SliceFeatures:
        """Encode three-slice images ``[N, 3, H, W]`` as far as they do not depend on each other."""
        t = self.trunk
        x = t["pool0"](t["relu0"](t["norm0"](t["conv0"](_rows_of_channels(images)))))
        stride4 = t["denseblock1"](x)
        stride8 = t["denseblock2"](t["transition1"](stride4))
        return SliceFeatures(stride4, stride8, t["transition2"](stride8))

    def side_maps(self, features: SliceFeatures) -> Tensor:
        """Stride-4 maps ``[N, out_channels, H / 4, W / 4]`` of images as neighbours of a centre."""
        return self._pyramid(features.stride4, features.stride8, features.stride16)

    def fuse(self, slabs: Sequence[Sequence[SliceFeatures]]) -> Tensor:
        """Fuse shared features into slab maps; equal to :meth:`forward` in evaluation mode.

        Args:
            slabs: for each of B slabs its ``num_images`` images in order, each a ``SliceFeatures`` of
                length 1; missing side maps are computed and kept in them.

        Returns:
            ``[B, out_channels, H / 4, W / 4]``.
        """
        centre = self.num_images // 2
        # An image may be a side of several slabs of this batch: encode each object once.
        missing = {
            id(f): f for slab in slabs for i, f in enumerate(slab) if i != centre and f.side_map is None
        }.values()
        if missing:
            todo = SliceFeatures(
                torch.cat([f.stride4 for f in missing]),
                torch.cat([f.stride8 for f in missing]),
                torch.cat([f.stride16 for f in missing]),
            )
            for f, side in zip(missing, self.side_maps(todo).split(1)):
                f.side_map = side
        fused = self.fuse_stride16(torch.cat([torch.cat([f.stride16 for f in slab], dim=1) for slab in slabs]))
        centres = [slab[centre] for slab in slabs]
        central = self._pyramid(torch.cat([f.stride4 for f in centres]), torch.cat([f.stride8 for f in centres]), fused)
        rows = []
        for b, slab in enumerate(slabs):
            maps = [central[b : b + 1] if i == centre else f.side_map for i, f in enumerate(slab)]
            rows.append(torch.cat(maps, dim=1))  # type: ignore[arg-type]
        return self.fuse_maps(torch.cat(rows))

    def _pyramid(self, stride4: Tensor, stride8: Tensor, before_block3: Tensor) -> Tensor:
        x = self.lateral4(self.trunk["denseblock3"](before_block3))
        x = F.interpolate(x, size=stride8.shape[-2:], mode="nearest") + self.lateral3(stride8)
        return F.interpolate(x, size=stride4.shape[-2:], mode="nearest") + self.lateral2(stride4)
