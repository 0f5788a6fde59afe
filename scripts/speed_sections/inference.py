"""Whole-volume inference: streaming against naive windows, bfloat16 against float32, and torchvision's stock
detector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from speed_sections.subjects import body_volume, our_network, scale, stock_network, volume_item
from speed_sections.timing import interleaved, ratio, summary
from torch import Tensor
from torchvision.ops import box_iou

from lesion_app.inferers.whole_volume import WholeVolumeInferer
from lesion_app.networks.inference_detector import inference_detector

NAIVE = "nine-slice windows, float32"
STREAMED = "streaming, the same network"
FAST = "streaming, prepared network, float32"
FASTEST = "streaming, prepared network, bfloat16"
STOCK = "torchvision Faster R-CNN ResNet-50 FPN, one slice"


def measure(
    size: int = 512, long: int = 16, short: int = 4, repetitions: int = 3, small: bool = False
) -> dict[str, Any]:
    """Seconds a slice of each way, and whether they find the same.

    Args:
        size: px of a slice.
        long: slices of the volume that is streamed; at 2 mm a little more than one image a slice is encoded.
        short: slices of it that are looked at window by window.
        repetitions: rounds that count.
        small: the demo's network (tests).
    """
    network, stock = our_network(small), stock_network(size)
    fast, fastest = inference_detector(network, "float32"), inference_detector(network, "bfloat16")
    volume = body_volume(long, size)
    whole, part = volume_item(volume, 2.0), volume_item(volume[:short].clone(), 2.0)
    slice_rgb = scale(volume[:3]) / 255

    def look(net: torch.nn.Module, item: dict[str, Any], mode: str, batch: int | None = None) -> Callable[[], Any]:
        inferer = WholeVolumeInferer(lambda _: [], scale, 2.0, mode=mode, slabs_per_batch=batch)  # type: ignore[arg-type]
        return lambda: inferer.detect_slices(item, net)

    @torch.no_grad()
    def stock_slice() -> None:
        stock([slice_rgb])

    jobs: dict[str, tuple[Callable[[], Any], int]] = {
        NAIVE: (look(network, part, "naive"), short),
        STREAMED: (look(network, whole, "streaming"), long),
        FAST: (look(fast, whole, "streaming"), long),
        FASTEST: (look(fastest, whole, "streaming"), long),
        f"{FASTEST}, 4 slabs at a time": (look(fastest, whole, "streaming", 4), long),
        "nine-slice windows, prepared network, bfloat16": (look(fastest, part, "naive"), short),
        STOCK: (stock_slice, 1),
    }
    seconds = interleaved({name: job for name, (job, _) in jobs.items()}, repetitions)
    per = {name: slices for name, (_, slices) in jobs.items()}
    reference = look(network, part, "naive")()
    found = {
        FAST: agreement(reference, look(fast, part, "streaming")()),
        FASTEST: agreement(reference, look(fastest, part, "streaming")()),
    }
    return {
        "size_px": size,
        "slices": {"streamed": long, "windows": short},
        "proposals": proposals(network, part["image"]),
        "seconds_per_slice": {name: summary(values, per[name]) for name, values in seconds.items()},
        "times_faster_than_windows": {
            name: ratio(seconds[NAIVE], seconds[name], per[NAIVE], per[name]) for name in (STREAMED, FAST, FASTEST)
        },
        "times_faster_than_stock": {
            name: ratio(seconds[STOCK], seconds[name], 1, per[name]) for name in (FAST, FASTEST)
        },
        "agreement_with_windows": found,
    }


@torch.no_grad()
def proposals(network: Any, volume: Tensor) -> int:
    """Proposals the second stage gets for a slice; a benchmark of a collapsed first stage would flatter."""
    slab = scale(volume[:1].expand(network.num_slices, -1, -1))
    features = network.backbone((slab[None] - network.pixel_mean).unflatten(1, (-1, 3)))
    return len(network.rpn.propose(features, [tuple(slab.shape[-2:])])[0])


def agreement(reference: list[dict[str, Tensor]], found: list[dict[str, Tensor]]) -> dict[str, float]:
    """How far detections lie from the reference's, over pairs that are each other's best match with IoU >= 0.5.

    Returns:
        numbers of boxes, of pairs, and of the same among those a user is shown (score >= 0.1), largest and median
        difference of edges (px) and scores.
    """
    edges, scores, own = [torch.zeros(0)], [torch.zeros(0)], [torch.zeros(0)]
    for a, b in zip(reference, found):
        iou = box_iou(a["boxes"], b["boxes"])
        if not iou.numel():
            continue
        there, back = iou.argmax(dim=1), iou.argmax(dim=0)
        rows = torch.arange(len(iou))
        rows = rows[(back[there] == rows) & (iou[rows, there] >= 0.5)]
        edges.append((a["boxes"][rows] - b["boxes"][there[rows]]).abs().amax(dim=1))
        scores.append((a["scores"][rows] - b["scores"][there[rows]]).abs())
        own.append(a["scores"][rows])
    edge, score, paired = torch.cat(edges), torch.cat(scores), torch.cat(own)
    every = torch.cat([a["scores"] for a in reference])
    return {
        "boxes": len(every),
        "found": sum(len(b["scores"]) for b in found),
        "paired": len(paired),
        "shown": int((every >= 0.1).sum()),
        "shown_paired": int((paired >= 0.1).sum()),
        "largest_shift_px": float(edge.max()) if len(edge) else 0.0,
        "median_shift_px": float(edge.median()) if len(edge) else 0.0,
        "largest_score_difference": float(score.max()) if len(score) else 0.0,
        "median_score_difference": float(score.median()) if len(score) else 0.0,
    }
