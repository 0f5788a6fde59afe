"""YOLOv4s small enough for unit tests."""

from __future__ import annotations

from typing import Any

import torch

from lesion_app.networks.yolov4 import YOLOv4


def make_tiny_yolo(seed: int = 0, **settings: Any) -> YOLOv4:
    """An untrained YOLOv4 of some 500,000 parameters and one anchor a head."""
    torch.manual_seed(seed)
    strides = settings.get("strides", (8, 16, 32))
    anchors = [(12, 12), (16, 16), (28, 28), (40, 24)][-len(strides) :]
    return YOLOv4(**{"anchors": anchors, "width": 0.125, "depth": 0.1, **settings})


def used_yolo(seed: int = 0, **settings: Any) -> YOLOv4:
    """One with the statistics and outputs of a network in use, in evaluation mode: scores all over the range."""
    network = make_tiny_yolo(seed, **settings)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    slabs = torch.rand(2, network.num_slices, 96, 96, generator=torch.Generator().manual_seed(seed)) * 255
    with torch.no_grad():
        network.train().predict(slabs)
        network.eval()
        image = (slabs / 255).expand(-1, max(3, network.num_slices), -1, -1)
        for head, map_ in zip(network.heads, network.neck(network.backbone(image))):
            head.out.bias.zero_()  # type: ignore[operator, union-attr]
            head.out.weight.mul_(1.5 / head(map_).std())  # type: ignore[operator, union-attr]
    return network
