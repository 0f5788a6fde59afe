"""A volume that carries its view and spacing, for callers that hand on nothing but the tensor."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

META_KEYS = ("spacing_mm", "view")


class VolumeInMetad(MapTransform):
    """Make ``item[key]`` [Z, h, w] a ``MetaTensor`` whose ``meta`` holds ``spacing_mm`` and ``view`` of the item.

    MONAI Label gives a detector the image alone; `lesion_app.inferers.volume_detector.VolumeDetector` reads them there.
    """

    def __init__(self, keys: KeysCollection = "image", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = MetaTensor(item[key], meta={name: item[name] for name in META_KEYS})
        return item


VolumeInMetaD = VolumeInMetaDict = VolumeInMetad
