"""The networks and volumes that are measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from monai.bundle import ConfigParser
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

from lesion_app.bundle_run import find_bundle
from lesion_app.networks.faster_rcnn_25d import FasterRCNN25D
from lesion_app.networks.lens import LENS
from transforms.view import View


def our_network(small: bool = False, num_slices: int = 9) -> FasterRCNN25D:
    """The bundle's network with seeded random weights whose activations are of a trained network's size."""
    return _seeded(["inference", *(["demo_inference"] if small else [])], {}, num_slices)  # type: ignore[return-value]


def lens_network(datasets: Sequence[str], small: bool = False) -> LENS:
    """LENS with the experts of these data sets, its weights made as `our_network`'s; fuses what they find."""
    names = ["inference", *(["demo_inference"] if small else []), "lens_inference", *(["lens_demo"] if small else [])]
    network: LENS = _seeded(names, {"datasets": list(datasets), "network_def#fuse": True}, 9)  # type: ignore[assignment]
    return network


def _seeded(names: Sequence[str], values: dict[str, Any], num_slices: int) -> FasterRCNN25D | LENS:
    configs = Path(find_bundle()) / "configs"
    torch.manual_seed(0)
    parser = ConfigParser(ConfigParser.load_config_files([str(configs / f"{name}.json") for name in names]))
    parser.update({"network_def#initialised": True, **values})
    network: FasterRCNN25D | LENS = parser.get_parsed_content("network_def")
    slab = body_volume(num_slices, 256)
    settle_norms(network.backbone, (scale(slab)[None] - 50).unflatten(1, (network.backbone.num_images, 3)))
    with torch.no_grad():  # one pass does not settle what has no normalisation behind it
        spread = network.backbone((scale(slab)[None] - 50).unflatten(1, (network.backbone.num_images, 3))).std()
        network.backbone.fuse_maps.weight.div_(spread)
    network.eval()
    spread_scores(network, scale(slab))
    return network


@torch.no_grad()
def spread_scores(network: FasterRCNN25D | LENS, slab: Tensor, spread: float = 2.0) -> None:
    """Scale the classifiers so that proposals' logits have this standard deviation and few of them score high.

    A fresh classifier gives every box the same score to three digits, and which of them survive is then chance.
    """
    layers = [m.cls_score for m in network.roi_heads.box_predictor.modules() if isinstance(m, FastRCNNPredictor)]
    seen: dict[nn.Module, Tensor] = {}
    hooks = [
        layer.register_forward_hook(lambda module, given, logits: seen.update({module: logits})) for layer in layers
    ]
    network([slab])
    for hook, layer in zip(hooks, layers):
        hook.remove()
        margin = seen[layer][:, 1] - seen[layer][:, 0]
        factor = spread / margin.std().clamp(min=1e-6)
        layer.weight.mul_(factor)
        layer.bias.mul_(factor)
        layer.bias[1] -= factor * margin.mean() + spread


def stock_network(size: int) -> nn.Module:
    """torchvision's Faster R-CNN ResNet-50 FPN at our image size, otherwise as it comes."""
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    torch.manual_seed(0)
    network = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=size, max_size=size)
    settle_norms(network.backbone, torch.rand(1, 3, 256, 256))
    return network.eval()


@torch.no_grad()
def settle_norms(part: nn.Module, example: Tensor) -> None:
    """Give BatchNorm layers the statistics of ``example``, so that random weights do not blow up with depth.

    Without this a random network's proposals all collapse into one box, and its second stage has nothing to do.
    """
    norms = [m for m in part.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    part.train()
    part(example)
    part.eval()


def body_volume(slices: int, size: int, seed: int = 0) -> Tensor:
    """A body-like CT ``[Z, size, size]`` float32 HU: an ellipse of smooth soft tissue and bone in air."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn((1, 1, max(slices // 4, 2), size // 16, size // 16), generator=generator)
    texture = F.interpolate(coarse, size=(slices, size, size), mode="trilinear")[0, 0]
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    radius = (x / 0.85) ** 2 + (y / 0.65) ** 2
    tissue = 40 + 60 * texture + 10 * torch.randn((slices, size, size), generator=generator)
    tissue[texture > 2.2] += 400
    return torch.where(radius < 1, tissue, torch.full_like(tissue, -1000.0))


def scale(volume: Tensor) -> Tensor:
    """HU to [0, 255], as the bundle's configs do."""
    from transforms.scale_hu import ScaleHU

    return torch.as_tensor(ScaleHU(-1024, 3071)(volume))


def volume_item(volume: Tensor, spacing_z_mm: float) -> dict[str, Any]:
    """What the whole-volume inferer takes."""
    return {"image": volume, "spacing_mm": (0.8, 0.8, spacing_z_mm), "view": View()}
