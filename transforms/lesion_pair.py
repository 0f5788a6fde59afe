"""Two looks at one lesion, for contrastive learning."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import RandomizableTransform
from torch import Tensor

from transforms.lesion_crop import crop_lesions
from transforms.load_slab import LoadSlab


class RandLesionPaird(RandomizableTransform):
    """Load a lesion twice, each time on one of its slices and as another scan might show it.

    A lesion's further slices come with its record (3D labels, or boxes mined across slices). What changes between
    series and time points cannot be had without knowing which lesions are the same, so it is imitated: another
    slice position within ``max_shift_mm``, size, HU offset and contrast (kernel, contrast phase) and noise.

    Reads ``item["places"]`` (list of ``{slice, box}``, file numbers and px), ``item["image"]``, ``item["spacing_mm"]``
    and ``item["slices"]`` as `LoadSlab` does. Writes ``item["pair"]`` float32 [2, S, P, P] in HU.

    What a look may show of a place is kept, the least recently used places dropped first: decoding slices would take
    three quarters of a training on a CPU.

    Args:
        num_slices, interval_mm: slices of a crop.
        size_mm, size_px: side of a crop, see `crop_lesions`.
        max_shift_mm: jitter of the centre in plane.
        scale_range: factor of the apparent size.
        hu_offset, hu_contrast: half widths of the uniform change a * HU + b, with a around 1 and b around 0.
        noise_hu: highest standard deviation of white noise.
        cache_bytes: most that is kept of places, in each process that loads; 0 = nothing.
    """

    def __init__(
        self,
        num_slices: int = 3,
        interval_mm: float = 2.0,
        size_mm: float = 50.0,
        size_px: int = 48,
        max_shift_mm: float = 2.0,
        scale_range: tuple[float, float] = (0.85, 1.18),
        hu_offset: float = 20.0,
        hu_contrast: float = 0.15,
        noise_hu: float = 15.0,
        cache_bytes: int = 256 * 2**20,
    ) -> None:
        super().__init__(prob=1.0)
        self.loader = LoadSlab(num_slices, interval_mm)
        self.size_mm = size_mm
        self.size_px = size_px
        self.max_shift_mm = max_shift_mm
        self.smallest, self.largest = scale_range
        self.hu_offset = hu_offset
        self.hu_contrast = hu_contrast
        self.noise_hu = noise_hu
        self.cache_bytes = cache_bytes
        self._windows: OrderedDict[Hashable, _Window] = OrderedDict()
        self._kept_bytes = 0

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        places = item["places"]
        # Two different slices where the lesion has them.
        chosen = self.R.choice(len(places), 2, replace=len(places) < 2)
        item["pair"] = torch.stack([self._look(item, places[int(i)]) for i in chosen])
        return item

    def _look(self, item: Mapping[Hashable, Any], place: Mapping[str, Any]) -> Tensor:
        pixels, left, top, spacing = self._window(item, place)
        shift = torch.from_numpy(self.R.uniform(-self.max_shift_mm, self.max_shift_mm, 2)).float()
        shift = shift / torch.tensor(spacing[:2]) - torch.tensor([left, top])
        box = torch.tensor(place["box"], dtype=torch.float32) + torch.cat([shift, shift])
        size = self.size_mm * float(self.R.uniform(self.smallest, self.largest))
        crop = crop_lesions(pixels, box[None], spacing, size_mm=size, size_px=self.size_px)[0]
        contrast = 1 + float(self.R.uniform(-self.hu_contrast, self.hu_contrast))
        offset = float(self.R.uniform(-self.hu_offset, self.hu_offset))
        noise = self.R.standard_normal(crop.shape) * float(self.R.uniform(0, self.noise_hu))
        return crop * contrast + offset + torch.from_numpy(noise).float()

    def _window(self, item: Mapping[Hashable, Any], place: Mapping[str, Any]) -> _Window:
        """The part of a place's slab that any look at it can reach."""
        key = (str(item["image"]), str(item.get("slices")), place["slice"], tuple(place["box"]))
        if key in self._windows:
            self._windows.move_to_end(key)
            return self._windows[key]
        slab, source = self.loader(item["image"], place["slice"], item.get("spacing_mm"), item.get("slices"))
        spacing = source.geometry.spacing_mm
        x1, y1, x2, y2 = place["box"]
        reach = self.size_mm * self.largest / 2 + self.max_shift_mm
        columns, left = _span((x1 + x2) / 2, reach / spacing[0], slab.shape[-1])
        rows, top = _span((y1 + y2) / 2, reach / spacing[1], slab.shape[-2])
        window = (slab[:, rows, columns].clone(), left, top, spacing)
        self._windows[key] = window
        self._kept_bytes += window[0].nbytes
        while self._kept_bytes > self.cache_bytes:
            self._kept_bytes -= self._windows.popitem(last=False)[1][0].nbytes
        return window

    def __getstate__(self) -> dict[str, Any]:
        # A process that loads starts with an empty cache instead of a copy of ours.
        return {**self.__dict__, "_windows": OrderedDict(), "_kept_bytes": 0}


_Window = tuple[Tensor, int, int, tuple[float, float, float]]
"""Part of a slab [S, h, w] in HU, its left column and upper row in px, and spacing (x, y, z) in mm."""


def _span(middle: float, reach: float, length: int) -> tuple[slice, int]:
    """Pixels within ``reach`` of ``middle``, one more on each side to interpolate with, and the first of them."""
    first = min(max(0, math.floor(middle - reach) - 1), length - 1)
    return slice(first, max(first + 1, min(length, math.ceil(middle + reach) + 1))), first


RandLesionPairD = RandLesionPairDict = RandLesionPaird
