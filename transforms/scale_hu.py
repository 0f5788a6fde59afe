"""Map HU to the network's intensities."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from torch import Tensor


class ScaleHU(Transform):
    """Map HU ``hu_min..hu_max`` linearly to 0..255 and clamp the rest (MULAN, Yan et al. 2019).

    Takes a tensor of any shape and number type and returns a new float32 one; memory is the result
    alone. Volumes are best scaled slab by slab: as float32 they are twice their int16 size.

    Raises:
        ValueError: unless hu_min < hu_max.
    """

    def __init__(self, hu_min: float = -1024.0, hu_max: float = 3071.0) -> None:
        if not hu_min < hu_max:
            raise ValueError(f"hu_min must be below hu_max, got {hu_min} and {hu_max}")
        self.hu_min = hu_min
        self.hu_max = hu_max

    def __call__(self, image: Tensor) -> Tensor:
        scaled = image.to(torch.float32, copy=True).clamp_(self.hu_min, self.hu_max)
        return scaled.sub_(self.hu_min).mul_(255.0 / (self.hu_max - self.hu_min))


class ScaleHUd(MapTransform):
    """Dictionary form of `ScaleHU`."""

    def __init__(
        self,
        keys: KeysCollection = "image",
        hu_min: float = -1024.0,
        hu_max: float = 3071.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.scale = ScaleHU(hu_min, hu_max)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self.scale(item[key])
        return item


ScaleHUD = ScaleHUDict = ScaleHUd
