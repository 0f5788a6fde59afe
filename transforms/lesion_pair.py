"""Two looks at one lesion, for contrastive learning."""

from __future__ import annotations

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

    Args:
        num_slices, interval_mm: slices of a crop.
        size_mm, size_px: side of a crop, see `crop_lesions`.
        max_shift_mm: jitter of the centre in plane.
        scale_range: factor of the apparent size.
        hu_offset, hu_contrast: half widths of the uniform change a * HU + b, with a around 1 and b around 0.
        noise_hu: highest standard deviation of white noise.
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

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        places = item["places"]
        # Two different slices where the lesion has them.
        chosen = self.R.choice(len(places), 2, replace=len(places) < 2)
        item["pair"] = torch.stack([self._look(item, places[int(i)]) for i in chosen])
        return item

    def _look(self, item: Mapping[Hashable, Any], place: Mapping[str, Any]) -> Tensor:
        slab, source = self.loader(item["image"], place["slice"], item.get("spacing_mm"), item.get("slices"))
        spacing = source.geometry.spacing_mm
        shift = torch.from_numpy(self.R.uniform(-self.max_shift_mm, self.max_shift_mm, 2)).float()
        shift = shift / torch.tensor(spacing[:2])
        box = torch.tensor(place["box"], dtype=torch.float32) + torch.cat([shift, shift])
        size = self.size_mm * float(self.R.uniform(self.smallest, self.largest))
        crop = crop_lesions(slab, box[None], spacing, size_mm=size, size_px=self.size_px)[0]
        contrast = 1 + float(self.R.uniform(-self.hu_contrast, self.hu_contrast))
        offset = float(self.R.uniform(-self.hu_offset, self.hu_offset))
        noise = self.R.standard_normal(crop.shape) * float(self.R.uniform(0, self.noise_hu))
        return crop * contrast + offset + torch.from_numpy(noise).float()


RandLesionPairD = RandLesionPairDict = RandLesionPaird
