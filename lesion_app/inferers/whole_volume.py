"""Lesions of a whole CT volume from a 2.5D detector, each slice encoded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, Literal

import numpy as np
import torch
from monai.inferers import Inferer
from rich.progress import track
from torch import Tensor, nn

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.inferers.slice_windows import WindowPlan, interpolate_slices, plan_windows

SliceDetections = dict[str, Tensor]
Linker = Callable[[Sequence[SliceDetections]], list[Tracklet]]


class WholeVolumeInferer(Inferer):
    """MONAI inferer: volume items in, linked lesions out.

    The slab around every original slice is looked at, its neighbours interpolated, so boxes need no mapping in z.
    ``streaming`` encodes each distinct three-slice image once and only fuses per slab; ``naive`` pushes every slab
    through the whole network (any detector of the project; the reference the streaming way is tested against). A
    detector that does not expose the two halves (``slice_features`` and ``detect``) is always run the naive way.

    Args:
        linker: makes 3D lesions of per-slice detections (see ``lesion_app.tracking``).
        intensity: scales HU to the network's range, e.g. ``transforms`` ``ScaleHU``; applied slab by slab.
        interval_mm: distance of neighbouring slices in a slab, as in training.
        num_slices: slices of a slab, needed for ``naive`` with a network that does not tell.
        slabs_per_batch: slabs fused, and images encoded, at a time; None = 1 on CPUs, whose caches hold no more, else
            4.
        cache_bytes: bound of the features kept for later slabs; beyond it images are encoded again. What one batch
            of slabs needs is held beside.
        mode: ``streaming`` or ``naive``.
        device: where the network runs; None = where its parameters lie.
        progress: show a bar with the time left.
    """

    def __init__(
        self,
        linker: Linker,
        intensity: Callable[[Tensor], Tensor],
        interval_mm: float = 2.0,
        num_slices: int | None = None,
        slabs_per_batch: int | None = None,
        cache_bytes: int = 2 * 2**30,
        mode: Literal["streaming", "naive"] = "streaming",
        device: str | torch.device | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__()
        if mode not in ("streaming", "naive"):
            raise ValueError(f"mode must be 'streaming' or 'naive', got {mode!r}")
        self.linker = linker
        self.intensity = intensity
        self.interval_mm = interval_mm
        self.num_slices = num_slices
        if slabs_per_batch is not None and slabs_per_batch < 1:
            raise ValueError(f"slabs_per_batch must be positive, got {slabs_per_batch}")
        self.slabs_per_batch = slabs_per_batch
        self.cache_bytes = cache_bytes
        self.mode = mode
        self.device = device
        self.progress = progress

    def __call__(  # type: ignore[override]  # MONAI's engines hand on whatever prepare_batch made
        self, inputs: Sequence[dict[str, Any]], network: nn.Module, *args: Any, **kwargs: Any
    ) -> list[list[Tracklet]]:
        """Lesions of each volume, by falling score.

        Args:
            inputs: items with ``image`` ``[Z, h, w]`` HU, ``spacing_mm`` (x, y, z) of the original grid and ``view``
                (original px -> px of ``image``).

        Returns:
            for each item its tracklets: boxes in px of the ORIGINAL slices, slices = index in the volume.
        """
        return [self.linker(self.detect_slices(item, network)) for item in inputs]

    @torch.no_grad()
    def detect_slices(self, item: dict[str, Any], network: nn.Module) -> list[SliceDetections]:
        """2D detections (CPU) of every slice of one item, boxes in px of the original slices."""
        network.eval()
        volume: Tensor = item["image"]
        device = torch.device(self.device) if self.device is not None else next(network.parameters()).device
        slices = self.num_slices or getattr(network, "num_slices", None)
        if slices is None:
            raise ValueError("this network does not tell how many slices a slab has: give the inferer num_slices")
        if slices != 1 and slices % 6 != 3:
            raise ValueError(f"num_slices must be 1 or an odd multiple of 3, got {slices}")
        plan = plan_windows(volume.shape[0], float(item["spacing_mm"][2]), max(1, slices // 3), self.interval_mm)
        if slices == 1:  # images of the key slice alone
            plan = replace(plan, image_slices=plan.image_slices[:, 1:2])
        halves = hasattr(network, "slice_features") and hasattr(network, "detect")
        detect = self._streaming if self.mode == "streaming" and halves else self._naive
        found = [{k: v.cpu() for k, v in d.items()} for d in detect(volume, plan, network, device)]
        for d in found:
            d["boxes"] = item["view"].invert(d["boxes"])
        return found

    def _images(self, volume: Tensor, plan: WindowPlan, index: Sequence[int], device: torch.device) -> Tensor:
        slices = interpolate_slices(volume, plan.image_slices[np.asarray(index)])
        return self.intensity(slices.to(device, non_blocking=True))

    def _batches(self, depth: int, batch: int) -> Any:
        starts = range(0, depth, batch)
        return track(starts, description="detecting", transient=True) if self.progress else starts

    def _naive(
        self, volume: Tensor, plan: WindowPlan, network: nn.Module, device: torch.device
    ) -> list[SliceDetections]:
        found: list[SliceDetections] = []
        batch = self._batch_on(device)
        for start in self._batches(len(plan.windows), batch):
            windows = plan.windows[start : start + batch]
            images = self._images(volume, plan, windows.ravel().tolist(), device)
            found.extend(network(list(images.reshape(len(windows), -1, *images.shape[-2:]))))
        return found

    def _streaming(self, volume: Tensor, plan: WindowPlan, network: Any, device: torch.device) -> list[SliceDetections]:
        found: list[SliceDetections] = []
        kept: dict[int, Any] = {}
        size = (int(volume.shape[-2]), int(volume.shape[-1]))
        batch = self._batch_on(device)
        for start in self._batches(len(plan.windows), batch):
            windows = plan.windows[start : start + batch]
            needed = [i for i in np.unique(windows).tolist() if i not in kept]
            for first in range(0, len(needed), batch):
                chunk = needed[first : first + batch]
                kept.update(zip(chunk, network.slice_features(self._images(volume, plan, chunk, device))))
            found.extend(network.detect([[kept[i] for i in window] for window in windows.tolist()], size))
            done = start + len(windows)
            kept = {i: f for i, f in kept.items() if plan.last_use[i] >= done}
            self._bound(kept)
            for features in kept.values():
                own_memory(features)
        return found

    def _batch_on(self, device: torch.device) -> int:
        return self.slabs_per_batch or (1 if device.type == "cpu" else 4)

    def _bound(self, kept: dict[int, Any]) -> None:
        # Images are ordered along z: those with the highest index are needed last, so they go first.
        total = sum(f.nbytes for f in kept.values())
        for i in sorted(kept, reverse=True):
            if total <= self.cache_bytes:
                return
            total -= kept.pop(i).nbytes


def own_memory(features: Any) -> None:
    """Copy every tensor field of a dataclass that is a view into a larger tensor, in place.

    Features of a batch of images are views of one tensor; keeping one would keep all of them in memory.
    """
    for field in fields(features):
        value = getattr(features, field.name)
        if isinstance(value, Tensor) and value.untyped_storage().nbytes() > value.numel() * value.element_size():
            setattr(features, field.name, value.clone())
