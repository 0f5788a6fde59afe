"""Weights that Darknet wrote (``yolov4.weights``, ``yolov4.conv.137``) into :class:`YOLOv4`.

The format, as Darknet writes it: int32 version (major, minor, revision), the number of images seen (int64 from version
0.2 on, else int32), then little-endian float32 values layer by layer in the order of the ``.cfg`` file. A convolution
with BatchNorm is bias, scale, running mean, running variance, weights ``[out, in, k, k]``; one without is bias and
weights.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from lesion_app.errors import InputError
from lesion_app.networks.csp_darknet import DarknetConv
from lesion_app.networks.yolo_head import YOLOHead
from lesion_app.networks.yolov4 import YOLOv4

Part = Literal["backbone", "conv.137", "all"]
"""How much of a network: CSPDarknet53 (layers 0 to 104 of ``yolov4.cfg``), also pyramid pooling and the top-down path
(0 to 136, what Darknet's users start training from), everything."""
_Layer = DarknetConv | nn.Conv2d
_VERSION_BYTES = 12
_PER_BOX = 5


def load_darknet_weights(network: YOLOv4, path: str | os.PathLike[str] | None, part: Part = "conv.137") -> YOLOv4:
    """Load a Darknet file into ``network`` in place and return it.

    The file may hold more than ``part``: the backbone of any published YOLOv4 file can be had. What is not loaded stays
    as it is.

    Args:
        network: of the width and depth of the file's; for another part than ``backbone`` with heads at strides 8, 16
            and 32, for ``all`` also with its number of classes and anchors.
        path: the file; None = leave ``network`` as it is (for configs).
        part: how much to load.

    Raises:
        InputError: no such file, one that is cut off or of another network, or a part that does not fit; ``network`` is
            unchanged then.
    """
    if part not in get_args(Part):
        raise InputError(f"the part of the network is '{part}'; expected one of {', '.join(get_args(Part))}")
    if path is None:
        return network
    path = Path(path)
    values = _read(path)
    if network.backbone.stem.conv.in_channels != 3:
        raise InputError(
            f"{path.name} cannot be used by a network with {network.num_slices} slices, since Darknet's images have "
            "three channels; set num_slices to 1 or 3"
        )
    published = _published(network)
    if part != "backbone" and network.strides != published.strides:
        raise InputError(
            f"of {path.name} only the backbone fits a network with heads at strides "
            f"{', '.join(map(str, network.strides))}; load the part 'backbone'"
        )
    held, classes = _content(path, len(values), published)
    parts = get_args(Part)
    if parts.index(part) > parts.index(held):
        raise InputError(f"{path.name} ends with the part '{held}', '{part}' was asked for; load '{held}' instead")
    own_anchors, usual_anchors = (len(_heads(net)[0].anchors) for net in (network, published))
    if part == "all" and own_anchors != usual_anchors:
        raise InputError(
            f"the network has {own_anchors} anchors a head, {path.name} is for {usual_anchors}; load the part "
            "'conv.137', which does not depend on them"
        )
    if part == "all" and classes != network.num_classes:
        raise InputError(
            f"{path.name} is of a YOLOv4 for {classes} classes, the network has {network.num_classes}; load the part "
            "'conv.137', which does not depend on the classes"
        )
    layers = darknet_layers(network, part)
    state = list(_tensors(layers))
    loaded = np.split(values[: sum(t.numel() for t in state)], np.cumsum([t.numel() for t in state])[:-1])
    _check_values(path, layers, loaded)
    with torch.no_grad():
        for own, value in zip(state, loaded):
            own.copy_(torch.from_numpy(value.astype(np.float32)).view(own.shape))
    return network


def darknet_layers(network: YOLOv4, part: Part = "all") -> list[_Layer]:
    """The convolutions of ``network`` in the order of ``yolov4.cfg``, up to the end of ``part``."""
    neck = network.neck
    modules: list[nn.Module] = [network.backbone]
    if part != "backbone":
        modules += [neck.pyramid_pooling, neck.top_down]
    if part == "all":
        modules.append(network.heads[0])
        for step, head in zip(neck.bottom_up, network.heads[1:]):
            modules += [step, head]
    return [layer for module in modules for layer in _convolutions(module)]


def _heads(network: YOLOv4) -> list[YOLOHead]:
    return cast("list[YOLOHead]", list(network.heads))


def _convolutions(module: nn.Module) -> Iterator[_Layer]:
    if isinstance(module, (DarknetConv, nn.Conv2d)):
        yield module
        return
    for child in module.children():
        yield from _convolutions(child)


def _tensors(layers: Sequence[_Layer]) -> Iterator[Tensor]:
    """Parameters and statistics in the file's order."""
    for layer in layers:
        if isinstance(layer, DarknetConv):
            norm = layer.norm
            yield from (norm.bias, norm.weight, norm.running_mean, norm.running_var, layer.conv.weight)  # type: ignore[misc]
        else:
            yield from (layer.bias, layer.weight)  # type: ignore[misc]


def _read(path: Path) -> np.ndarray:
    """The values of a file, float32 ``[N]`` little-endian, mapped."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            version = np.frombuffer(file.read(_VERSION_BYTES), dtype="<i4")
    except OSError as error:
        raise InputError(
            f"the weights {path} cannot be read ({error.strerror}); name a file of Darknet such as yolov4.conv.137"
        ) from error
    if len(version) < 3 or not (0 <= version[0] < 1000 and 0 <= version[1] < 1000):
        raise InputError(
            f"{path.name} does not begin with a version of Darknet; expected a file such as yolov4.weights or "
            "yolov4.conv.137"
        )
    header = _VERSION_BYTES + (8 if version[0] * 10 + version[1] >= 2 else 4)
    if size <= header or (size - header) % 4:
        raise InputError(
            f"{path.name} has {size:,} bytes, which is no header and whole float32 values; it is cut off or not of "
            "Darknet, so fetch it anew"
        )
    return np.memmap(path, dtype="<f4", mode="r", offset=header)


def _published(network: YOLOv4) -> YOLOv4:
    """A network without values, of the same width and depth, with the published heads and as many anchors as usual."""
    with torch.device("meta"):
        return YOLOv4(num_classes=network.num_classes, width=network.width, depth=network.depth)


def _content(path: Path, count: int, published: YOLOv4) -> tuple[Part, int | None]:
    """Which part a file of ``count`` values ends with, and for a whole network its classes."""
    ends = {part: sum(t.numel() for t in _tensors(darknet_layers(published, part))) for part in get_args(Part)}
    for part in ("backbone", "conv.137"):
        if count == ends[part]:
            return part, None  # type: ignore[return-value]
    heads = _heads(published)
    per_class = sum(len(head.anchors) * (head.out.in_channels + 1) for head in heads)
    fixed = ends["all"] - sum(t.numel() for t in _tensors([head.out for head in heads])) + _PER_BOX * per_class
    classes, rest = divmod(count - fixed, per_class)
    if rest or classes < 1:
        full = published.width == published.depth == 1
        scale = "" if full else f" of width {published.width:g} and depth {published.depth:g}"
        raise InputError(
            f"{path.name} holds {count:,} values, but a YOLOv4{scale} has {ends['backbone']:,} (backbone), "
            f"{ends['conv.137']:,} (conv.137) or {ends['all']:,} (whole, {published.num_classes} classes); it is cut "
            "off or of another network, so fetch it anew or name another file"
        )
    return "all", classes


def _check_values(path: Path, layers: Sequence[_Layer], loaded: Sequence[np.ndarray]) -> None:
    """Refuse a file of the right length whose values cannot be this network's."""
    normed, plain = ("bias", "scale", "mean", "variance", "weight"), ("bias", "weight")
    kinds = [kind for layer in layers for kind in (normed if isinstance(layer, DarknetConv) else plain)]
    for kind, value in zip(kinds, loaded):
        if not np.isfinite(value).all() or (kind == "variance" and (value < 0).any()):
            raise InputError(
                f"{path.name} holds a {kind} that is not finite or below zero where there can be none; it is damaged "
                "or of another network, so fetch it anew or name another file"
            )
