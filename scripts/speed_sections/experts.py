"""What LENS's experts cost: four data sets' against one's, and against the main detector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from speed_sections.subjects import body_volume, lens_network, our_network, scale, volume_item
from speed_sections.timing import interleaved, ratio, summary

from lesion_app.inferers.whole_volume import WholeVolumeInferer
from lesion_app.networks.lens import LENS

MAIN = "main detector"
ONE = "LENS, one data set"
ALL = "LENS, four data sets, fused"
DATASETS = ("deeplesion", "luna16", "lits", "nih-ln")
PAPER = 1.8
"""LENS, Table IV: time of inference with four data sets against one."""


def measure(size: int = 512, slices: int = 8, repetitions: int = 3, small: bool = False) -> dict[str, Any]:
    """Seconds a slice, all three streaming in float32 as the configs build them, none folded.

    Args:
        size: px of a slice.
        slices: of the volume, 2 mm apart.
        repetitions: rounds that count.
        small: the demo's networks (tests).
    """
    volume = volume_item(body_volume(slices, size), 2.0)
    networks = {
        MAIN: our_network(small),
        ONE: lens_network(DATASETS[:1], small),
        ALL: lens_network(DATASETS, small),
    }

    def look(network: torch.nn.Module) -> Callable[[], Any]:
        inferer = WholeVolumeInferer(lambda _: [], scale, 2.0, mode="streaming")  # type: ignore[arg-type]
        return lambda: inferer.detect_slices(volume, network)

    seconds = interleaved({name: look(network) for name, network in networks.items()}, repetitions)
    lens: LENS = networks[ALL]  # type: ignore[assignment]
    return {
        "size_px": size,
        "slices": slices,
        "proposals": pooled(lens, size),
        "paper": PAPER,
        "seconds_per_slice": {name: summary(values, slices) for name, values in seconds.items()},
        "times_slower": {name: ratio(seconds[ALL], seconds[name]) for name in (ONE, MAIN)},
    }


@torch.no_grad()
def pooled(network: LENS, size: int) -> int:
    """Proposals that every expert looks at; experts of a collapsed proposal network would cost nothing."""
    seen: list[int] = []
    head = network.roi_heads.box_head
    hook = head.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    network([scale(body_volume(network.num_slices, size))])
    hook.remove()
    return seen[0]
