"""The six detectors of docs/retina_unet.md, small enough for unit tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lesion_app.networks.faster_rcnn_nd import FasterRCNNND
from lesion_app.networks.mask_rcnn_nd import MaskRCNNND
from lesion_app.networks.pyramid import PyramidBackbone
from lesion_app.networks.retina_net import RetinaNet
from lesion_app.networks.retina_unet import RetinaUNet
from lesion_app.networks.two_stage_retina_unet import TwoStageRetinaUNet
from lesion_app.networks.unet_heuristic import UNetHeuristic

DETECTORS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "retina_unet": (RetinaUNet, (0, 2, 3, 4, 5)),
    "retina_net": (RetinaNet, (2, 3, 4, 5)),
    "mask_rcnn": (MaskRCNNND, (2, 3, 4, 5)),
    "faster_rcnn_plus": (FasterRCNNND, (2, 3, 4, 5)),
    "two_stage_retina_unet": (TwoStageRetinaUNet, (0, 2, 3, 4, 5)),
    "unet_heuristic": (UNetHeuristic, (0,)),
}
SEGMENTING = ("retina_unet", "mask_rcnn", "two_stage_retina_unet", "unet_heuristic")
SIZES = {2: (48, 64), 3: (8, 32, 32)}


def make_tiny(name: str, dim: int = 2, channels: int = 1, seed: int = 0, **settings: Any) -> nn.Module:
    """An untrained detector of some ten thousand parameters, two classes."""
    kind, levels = DETECTORS[name]
    torch.manual_seed(seed)
    backbone = PyramidBackbone(dim, channels, depth=18, width=4, pyramid_width=8, levels=levels)
    small: dict[str, Any] = {"num_classes": 2}
    if name in ("retina_unet", "retina_net"):
        small |= {"head_channels": 8, "head_layers": 1, "anchor_sizes": (8, 16, 32, 64)}
    elif name != "unet_heuristic":
        small |= {"rpn_channels": 8, "head_channels": 16, "rpn_pre_nms": 100, "anchor_sizes": (8, 16, 32, 64)}
        small |= {"rpn_post_nms_train": 20, "rpn_post_nms_test": 20, "roi_add_ground_truth": True}
    network: nn.Module = kind(backbone, **{**small, **settings})
    return network


def image(dim: int = 2, channels: int = 1, seed: int = 0) -> Tensor:
    """Noise, ``[channels, 48, 64]`` or ``[channels, 8, 32, 32]``."""
    return torch.rand(channels, *SIZES[dim], generator=torch.Generator().manual_seed(seed))


def target(dim: int, boxes: list[list[float]], labels: list[int] | None = None, **more: Any) -> dict[str, Tensor]:
    """A target; ``ignore`` is a list of boxes."""
    found = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 2 * dim),
        "labels": torch.tensor(labels or [1] * len(boxes), dtype=torch.int64),
    }
    if "ignore" in more:
        more["ignore"] = torch.tensor(more["ignore"], dtype=torch.float32).reshape(-1, 2 * dim)
    return {**found, **more}


def filled(dim: int, boxes: list[list[float]]) -> Tensor:
    """Masks that fill boxes of whole numbers."""
    masks = torch.zeros(len(boxes), *SIZES[dim], dtype=torch.bool)
    for mask, box in zip(masks, boxes):
        low, high = box[:dim][::-1], box[dim:][::-1]
        mask[tuple(slice(int(a), int(b)) for a, b in zip(low, high))] = True
    return masks
