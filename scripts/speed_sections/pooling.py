"""RoIAlign forwards and backwards as in a training step: torchvision's kernel and ours by rows of channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from speed_sections.timing import interleaved, ratio, summary
from torch import Tensor
from torchvision.ops import roi_align

from lesion_app.networks.roi_align_rows import roi_align_rows

CELLS, SAMPLES, SCALE = 7, 2, 0.25


def measure_pooling(repetitions: int = 15, small: bool = False) -> dict[str, Any]:
    """Seconds of both on the maps and boxes of the full network at 512 px and of the demo's small one."""
    shapes = {"demo's network, 4 slabs of 208 px": (4, 64, 52, 128)}
    if not small:
        shapes["full network, 1 slab of 512 px"] = (1, 512, 128, 512)
    return {name: _compare(*shape, repetitions) for name, shape in shapes.items()}


def _compare(batch: int, channels: int, side: int, boxes: int, repetitions: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn((batch, channels, side, side), generator=generator)
    features = features.contiguous(memory_format=torch.channels_last).requires_grad_()  # as the networks hand it over
    corner = torch.rand((batch, boxes, 2), generator=generator) * side / SCALE * 0.8
    extent = 8 + torch.rand((batch, boxes, 2), generator=generator) * 40
    found = list(torch.cat((corner, corner + extent), dim=2))

    def both_ways(pool: Callable[..., Tensor]) -> Callable[[], None]:
        def run() -> None:
            features.grad = None
            pool(features, found, CELLS, SCALE, SAMPLES).sum().backward()

        return run

    seconds = interleaved({"torchvision": both_ways(roi_align), "ours": both_ways(roi_align_rows)}, repetitions)
    return {
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "x_faster": ratio(seconds["torchvision"], seconds["ours"]),
    }
