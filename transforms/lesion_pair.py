"""Two looks at one lesion, for contrastive learning."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import RandomizableTransform
from torch import Tensor

from transforms.lesion_crop import crop_lesions
from transforms.slab import mix_slices


class RandLesionPaird(RandomizableTransform):
    """Look at a lesion twice, each time on one of its slices and as another scan might show it.

    A lesion's further slices come with its record (3D labels, or boxes mined across slices). What changes between
    series and time points cannot be had without knowing which lesions are the same, so it is imitated: another
    slice position within ``max_shift_mm``, size, HU offset and contrast (kernel, contrast phase) and noise.

    Reads what `ReadLesiond` writes, which must be told the same size, shift and scales. Writes ``item["pair"]``
    float32 [2, S, P, P] in HU.

    Args:
        size_mm, size_px: side of a crop, see `crop_lesions`.
        max_shift_mm: jitter of the centre in plane.
        scale_range: factor of the apparent size.
        hu_offset, hu_contrast: half widths of the uniform change a * HU + b, with a around 1 and b around 0.
        noise_hu: highest standard deviation of white noise.
    """

    def __init__(
        self,
        size_mm: float = 50.0,
        size_px: int = 48,
        max_shift_mm: float = 2.0,
        scale_range: tuple[float, float] = (0.85, 1.18),
        hu_offset: float = 20.0,
        hu_contrast: float = 0.15,
        noise_hu: float = 15.0,
    ) -> None:
        super().__init__(prob=1.0)
        self.size_mm = size_mm
        self.size_px = size_px
        self.max_shift_mm = max_shift_mm
        self.smallest, self.largest = scale_range
        self.hu_offset = hu_offset
        self.hu_contrast = hu_contrast
        self.noise_hu = noise_hu

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        count = len(item["places"]["box"])
        # Two different slices where the lesion has them.
        chosen = self.R.choice(count, 2, replace=count < 2)
        item["pair"] = torch.stack([self._look(item, int(i)) for i in chosen])
        return item

    def _look(self, item: Mapping[Hashable, Any], place: int) -> Tensor:
        places, spacing = item["places"], item["spacing_mm"]
        slab = mix_slices(item["pixels"], *(places[name][place] for name in ("lower", "upper", "weight")))
        shift = torch.from_numpy(self.R.uniform(-self.max_shift_mm, self.max_shift_mm, 2)).float()
        box = places["box"][place] + (shift / torch.tensor(spacing[:2])).repeat(2)
        size = self.size_mm * float(self.R.uniform(self.smallest, self.largest))
        crop = crop_lesions(slab, box[None], spacing, size_mm=size, size_px=self.size_px)[0]
        contrast = 1 + float(self.R.uniform(-self.hu_contrast, self.hu_contrast))
        offset = float(self.R.uniform(-self.hu_offset, self.hu_offset))
        noise = self.R.standard_normal(crop.shape) * float(self.R.uniform(0, self.noise_hu))
        return crop * contrast + offset + torch.from_numpy(noise).float()


RandLesionPairD = RandLesionPairDict = RandLesionPaird
