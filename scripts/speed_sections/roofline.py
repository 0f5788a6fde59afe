"""How much work a slice is, how fast the machine multiplies, and our share of that."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from speed_sections.subjects import body_volume, our_network, scale
from torch.utils.flop_counter import FlopCounterMode

from lesion_app.networks.inference_detector import inference_detector

GIGA = 1e9


def measure(size: int = 512, small: bool = False, matrix: int = 2048) -> dict[str, Any]:
    """Counted GFLOP of a naive window and of a streamed slice, and measured GFLOP/s of plain multiplications."""
    network = our_network(small)
    fast = inference_detector(network, "float32")
    images = scale(body_volume(9, size)).unflatten(0, (3, 3))
    with torch.no_grad():
        window = counted(lambda: network([images.flatten(0, 1)]))
        streamed = {
            "streamed slice, the same network": counted(lambda: one_slice(network, images, size)),
            "streamed slice, prepared network": counted(lambda: one_slice(fast, images, size)),
        }
        conv = torch.nn.Conv2d(512, 512, 3, padding=1)
        convolution = counted(lambda: conv(torch.zeros(1, 512, size // 4, size // 4)))
    return {
        "gflop": {"nine-slice window": window, **streamed, "the RPN's 3x3 convolution": convolution},
        "gflop_per_second": {
            f"{kind} {name}": rate
            for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
            for kind, rate in (
                ("matmul", matmul_rate(matrix, dtype)),
                ("3x3 convolution", convolution_rate(size, dtype)),
            )
        },
    }


def one_slice(network: Any, images: torch.Tensor, size: int) -> None:
    """The steady state of streaming: one image encoded, its map as a side computed, one slab fused and detected."""
    ready = network.slice_features(images)
    network.detect([ready], (size, size))  # not counted: fills what the neighbours would already hold
    with FlopCounterMode(display=False) as counter:
        new = network.slice_features(images[:1])[0]
        network.detect([[ready[0], ready[1], new]], (size, size))
    one_slice.gflop = counter.get_total_flops() / GIGA  # type: ignore[attr-defined]


def counted(job: Callable[[], Any]) -> float:
    """GFLOP of a job (a multiply-add is two)."""
    with FlopCounterMode(display=False) as counter:
        job()
    inner = one_slice.__dict__.pop("gflop", None)
    return float(inner if inner is not None else counter.get_total_flops() / GIGA)


def matmul_rate(n: int, dtype: torch.dtype, repetitions: int = 5) -> float:
    """GFLOP/s of an n x n matrix product."""
    a, b = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)
    return 2 * n**3 / GIGA / best(lambda: a @ b, repetitions)


@torch.no_grad()
def convolution_rate(size: int, dtype: torch.dtype, repetitions: int = 5) -> float:
    """GFLOP/s of the RPN's convolution: 512 to 512 channels, 3 x 3, at stride 4."""
    side = size // 4
    conv = torch.nn.Conv2d(512, 512, 3, padding=1).to(dtype).to(memory_format=torch.channels_last)
    x = torch.randn(1, 512, side, side).to(dtype).to(memory_format=torch.channels_last)
    return 2 * 512 * 512 * 9 * side * side / GIGA / best(lambda: conv(x), repetitions)


def best(job: Callable[[], Any], repetitions: int) -> float:
    """The fastest of a few runs: what the machine can do."""
    job()
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
