"""The 2.5D Faster R-CNN made ready for use: the same detections from less work.

What differs from :class:`lesion_app.networks.faster_rcnn_25d.FasterRCNN25D` in evaluation mode, none of it a change of
the function beyond rounding:

* **Composed linear layers.** The lateral 1x1 convolutions and the second fusion are linear, and nearest upsampling
  copies values, so the fusion is multiplied into the laterals once: it then runs at stride 16, 8 and 4 on what each
  level holds instead of on three full-width maps at stride 4.
* **Folded normalisation.** BatchNorm behind a convolution is part of its weights; average pooling goes before a
  transition's 1x1 convolution instead of behind it.
* **Memory layout and precision.** ``channels_last`` throughout, and bfloat16 where the machine multiplies it in matrix
  units. Scores and boxes are computed in float32.
* **Rows for RoIAlign** on CPUs (:func:`lesion_app.networks.roi_align_rows.roi_align_rows`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lesion_app.errors import InputError
from lesion_app.networks.densenet_25d import DenseNet25D
from lesion_app.networks.faster_rcnn_25d import FasterRCNN25D
from lesion_app.networks.folded_dense_block import (
    BATCH_NORMS,
    FoldedDenseBlock,
    FoldedTransition,
    add_upsampled,
    fold,
    join,
)
from lesion_app.networks.roi_align_rows import roi_align_rows

Precision = Literal["auto", "float32", "bfloat16"]


def inference_detector(network: nn.Module, precision: Precision = "auto", keep: bool = True) -> nn.Module:
    """A trained network made fast for evaluation.

    Args:
        network: the trained detector, on the device it is to run on; one of another kind than :class:`FasterRCNN25D`
            is returned as it is.
        precision: of the convolutions; ``auto`` = bfloat16 where there are matrix units for it (CPUs with AMX, GPUs
            from compute capability 8.0), else float32.
        keep: True leaves ``network`` as it is and works on a copy; False takes it apart, which saves time and memory
            where it was loaded for this alone.

    Raises:
        InputError: on another word.
    """
    if precision not in get_args(Precision):
        raise InputError(f"precision is '{precision}'; expected one of {', '.join(get_args(Precision))}")
    if not isinstance(network, FasterRCNN25D):
        return network.eval()
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16_units(next(network.parameters()).device) else "float32"
    return InferenceDetector(
        copy.deepcopy(network) if keep else network, torch.bfloat16 if precision == "bfloat16" else torch.float32
    )


def has_bfloat16_units(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 matrices in hardware made for it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()


@dataclass
class EncodedImage:
    """What one or several three-slice images share among all slabs they appear in.

    Args:
        stride4, stride8: outputs of dense blocks 1 and 2, ``[N, C, H / stride, W / stride]``.
        stride16: output of transition 2, before the first fusion.
        side_deep: output of dense block 3 when the image is *not* the centre of a slab; computed when first asked for.
    """

    stride4: Tensor
    stride8: Tensor
    stride16: Tensor
    side_deep: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors held; views count as their own size."""
        held = (getattr(self, field.name) for field in fields(self))
        return sum(t.numel() * t.element_size() for t in held if t is not None)


class InferenceDetector(nn.Module):
    """Evaluation-only detector with :class:`FasterRCNN25D`'s ``forward``, ``slice_features`` and ``detect``.

    Args:
        network: taken apart; not to be used any more.
        dtype: of the convolutions, ``torch.float32`` or ``torch.bfloat16``.
    """

    def __init__(self, network: FasterRCNN25D, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        network = network.eval().requires_grad_(False)
        backbone = network.backbone
        self.dtype = dtype
        self.num_images, self.stride, self.size_divisible = (
            backbone.num_images,
            backbone.stride,
            backbone.size_divisible,
        )
        self.pixel_mean = network.pixel_mean
        self.rpn, self.roi_heads = network.rpn, network.roi_heads
        self.fuse4, self.fuse8, self.fuse16 = composed_fusion(backbone)
        self.fuse_deep = backbone.fuse_stride16
        self.trunk = folded_trunk(backbone.trunk, dtype)
        head = self.roi_heads.box_head
        cells = self.roi_heads.box_roi_pool.output_size[0] ** 2
        # Pooled boxes come cell by cell, so the first layer's weights are put into that order.
        weight = head.fc6.weight.data.to(dtype)
        head.fc6.weight.data = weight.unflatten(1, (-1, cells)).transpose(1, 2).flatten(1).contiguous()
        for part in (self.trunk, self.fuse4, self.fuse8, self.fuse16, self.fuse_deep, self.rpn.head, head):
            for layer in part.modules():
                if isinstance(layer, (nn.Conv2d, nn.Linear)):
                    layer.to(dtype)
                if isinstance(layer, nn.Conv2d):
                    layer.to(memory_format=torch.channels_last)
        self.train(False)

    @property
    def num_slices(self) -> int:
        """Slices of a slab the network takes."""
        return 3 * self.num_images

    def train(self, mode: bool = True) -> InferenceDetector:
        """Stays in evaluation mode: what was folded cannot be trained.

        Raises:
            ValueError: when training is asked for.
        """
        if mode:
            raise ValueError("this copy of the network is for inference only; train the network it was made from")
        return super().train(False)

    @torch.no_grad()
    def forward(self, slabs: list[Tensor]) -> list[dict[str, Tensor]]:
        """Detections ``{boxes [K, 4], scores [K], labels [K]}`` of slabs ``[S, H, W]`` scaled to [0, 255], in their
        px."""
        sizes = [(int(s.shape[-2]), int(s.shape[-1])) for s in slabs]
        batch = self._batch(slabs)
        images = self._encode(batch.unflatten(1, (self.num_images, 3)).flatten(0, 1))
        return self._stages(
            self._fuse([images[i : i + self.num_images] for i in range(0, len(images), self.num_images)]), sizes
        )

    @torch.no_grad()
    def slice_features(self, images: Tensor) -> list[EncodedImage]:
        """Encode three-slice images ``[N, 3, H, W]`` (scaled to [0, 255]), one ``EncodedImage`` each."""
        return self._encode(self._batch(list(images)))

    @torch.no_grad()
    def detect(self, slabs: Sequence[Sequence[EncodedImage]], size: tuple[int, int]) -> list[dict[str, Tensor]]:
        """Detect on slabs given by their images' shared features; arguments as in :class:`FasterRCNN25D`."""
        return self._stages(self._fuse(slabs), [size] * len(slabs))

    def _batch(self, slabs: Sequence[Tensor]) -> Tensor:
        d = self.size_divisible
        height = -(-max(s.shape[-2] for s in slabs) // d) * d
        width = -(-max(s.shape[-1] for s in slabs) // d) * d
        batch = slabs[0].new_full((len(slabs), slabs[0].shape[0], height, width), -self.pixel_mean, dtype=torch.float32)
        for row, slab in zip(batch, slabs):
            torch.sub(slab, self.pixel_mean, out=row[:, : slab.shape[-2], : slab.shape[-1]])
        return batch

    def _encode(self, images: Tensor) -> list[EncodedImage]:
        t = self.trunk
        x = images.to(self.dtype, memory_format=torch.channels_last)
        stride4 = t["denseblock1"](t["pool0"](torch.relu_(t["norm0"](t["conv0"](x)))))
        stride8 = t["denseblock2"](t["transition1"](stride4))
        deep = t["transition2"](stride8)
        return [EncodedImage(*parts) for parts in zip(stride4.split(1), stride8.split(1), deep.split(1))]

    def _fuse(self, slabs: Sequence[Sequence[EncodedImage]]) -> Tensor:
        """Slab maps ``[B, out_channels, H / 4, W / 4]``."""
        centre = self.num_images // 2
        block3 = self.trunk["denseblock3"]
        # An image may be a side of several slabs of this batch: encode each object once, together with the centres.
        sides = {id(f): f for slab in slabs for i, f in enumerate(slab) if i != centre and f.side_deep is None}
        fused = self.fuse_deep(torch.cat([join([f.stride16 for f in slab]) for slab in slabs]))
        deep = block3(torch.cat([fused, *(f.stride16 for f in sides.values())]))
        for f, side in zip(sides.values(), deep[len(slabs) :].split(1)):
            f.side_deep = side
        centres = deep[: len(slabs)].split(1)
        deepest = [
            join([c if i == centre else f.side_deep for i, f in enumerate(slab)])  # type: ignore[misc]
            for slab, c in zip(slabs, centres)
        ]
        maps = self.fuse8(torch.cat([join([f.stride8 for f in slab]) for slab in slabs]))
        maps = add_upsampled(maps, self.fuse16(torch.cat(deepest)))
        return add_upsampled(self.fuse4(torch.cat([join([f.stride4 for f in slab]) for slab in slabs])), maps)

    def _stages(self, features: Tensor, sizes: list[tuple[int, int]]) -> list[dict[str, Tensor]]:
        proposals = self.rpn.propose(features, sizes)
        heads = self.roi_heads
        pool = heads.box_roi_pool
        if features.device.type == "cpu":
            pooled = roi_align_rows(features, proposals, pool.output_size[0], 1 / self.stride, pool.sampling_ratio)
        else:
            # torchvision's own kernel knows no bfloat16 on every device.
            pooled = pool({"0": features.float()}, proposals, sizes).flatten(2).transpose(1, 2)
        hidden = heads.box_head(pooled.to(self.dtype)).float()
        logits, deltas = heads.box_predictor(hidden)
        results = zip(*heads.postprocess_detections(logits, deltas, proposals, sizes))
        return [{"boxes": b, "scores": s, "labels": c} for b, s, c in results]


def composed_fusion(backbone: DenseNet25D) -> tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d]:
    """The laterals with the second fusion multiplied in: 1x1 convolutions over the joined images at stride 4, 8, 16.

    With images i, laterals L and the fusion's part W_i for image i: sum_i W_i (L4 a_i + up(L8 b_i + up(L16 c_i))) =
    [W_i L4] a + up([W_i L8] b + up([W_i L16] c)), since ``up`` copies values. The biases end up in the first.
    """
    parts = backbone.fuse_maps.weight.detach().double().flatten(1).split(backbone.out_channels, dim=1)
    composed = []
    bias = backbone.fuse_maps.bias.detach().double().clone()  # type: ignore[union-attr]
    for lateral in (backbone.lateral2, backbone.lateral3, backbone.lateral4):
        weight = lateral.weight.detach().double().flatten(1)
        joined = torch.cat([part @ weight for part in parts], dim=1)
        conv = nn.Conv2d(joined.shape[1], joined.shape[0], kernel_size=1, bias=lateral is backbone.lateral2)
        conv.weight.data = joined[:, :, None, None].to(lateral.weight)
        bias += sum(part @ lateral.bias.detach().double() for part in parts)  # type: ignore[union-attr]
        composed.append(conv)
    composed[0].bias.data = bias.to(composed[0].weight)  # type: ignore[union-attr]
    fuse4, fuse8, fuse16 = (conv.requires_grad_(False) for conv in composed)
    return fuse4, fuse8, fuse16


def folded_trunk(trunk: nn.ModuleDict, dtype: torch.dtype) -> nn.ModuleDict:
    """The trunk with its batch normalisation folded; one with another normalisation is left as it is."""
    if not isinstance(trunk["norm0"], BATCH_NORMS):
        return trunk
    parts = {name: layer for name, layer in trunk.items() if name not in ("conv0", "norm0")}
    for name, layer in parts.items():
        if name.startswith("denseblock"):
            parts[name] = FoldedDenseBlock(layer, dtype)
        elif name.startswith("transition"):
            parts[name] = FoldedTransition(layer, dtype)
    stem = fold(trunk["conv0"], trunk["norm0"])  # type: ignore[arg-type]
    return nn.ModuleDict({"conv0": stem, "norm0": nn.Identity(), **parts})
