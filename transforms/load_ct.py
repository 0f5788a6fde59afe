"""Load a whole CT volume."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from torch import Tensor

from transforms.ct_reader import open_ct
from transforms.ct_source import CTSource
from transforms.view import View


class LoadCT(Transform):
    """Load a CT as int16 [Z, H, W] in HU on the network grid (see `VolumeGeometry`).

    Args:
        keep_bytes: a volume of at most so many bytes stays with its `CTSource`, so that whoever reads it a second time
            (for a picture) does not decode it again; 0 = none stays.
    """

    def __init__(self, keep_bytes: int = 0) -> None:
        super().__init__()
        self.keep_bytes = keep_bytes

    def __call__(
        self,
        path: str | os.PathLike[str],
        spacing_mm: Sequence[float] | None = None,
        slices: Sequence[int] | None = None,
    ) -> tuple[Tensor, CTSource]:
        """Load the volume and its source; arguments and errors are those of `open_ct`."""
        source = open_ct(path, spacing_mm=spacing_mm, slices=slices)
        volume = source.read()
        if volume.numel() * volume.element_size() <= self.keep_bytes:
            source = replace(source, volume=volume)
        return volume, source


class LoadCTd(MapTransform):
    """Dictionary form of `LoadCT`.

    Reads ``item[key]`` (path) and, where present, ``item[spacing_key]`` and ``item[range_key]``.
    Writes ``item[key]`` int16 [Z, H, W] HU, ``item[geometry_key]`` the `VolumeGeometry`,
    ``item[source_key]`` the `CTSource` (kind, series UID, notes; pixels only up to ``keep_bytes``),
    ``item[view_key]`` the identity `View` and ``item[spacing_key]`` the spacing (x, y, z) in mm.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        spacing_key: str = "spacing_mm",
        range_key: str = "slices",
        geometry_key: str = "geometry",
        source_key: str = "source",
        view_key: str = "view",
        allow_missing_keys: bool = False,
        keep_bytes: int = 0,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.loader = LoadCT(keep_bytes)
        self.spacing_key = spacing_key
        self.range_key = range_key
        self.geometry_key = geometry_key
        self.source_key = source_key
        self.view_key = view_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key], source = self.loader(data[key], data.get(self.spacing_key), data.get(self.range_key))
            item[self.source_key] = source
            item[self.geometry_key] = source.geometry
            item[self.view_key] = View()
            item[self.spacing_key] = source.geometry.spacing_mm
        return item


LoadCTD = LoadCTDict = LoadCTd
