"""Load the slab around one slice of a CT, reading only the slices it needs."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from torch import Tensor

from lesion_app.errors import InputError
from transforms.ct_reader import open_ct
from transforms.ct_source import CTSource
from transforms.slab import mix_slices, neighbour_weights, slices_to_read
from transforms.view import View


class LoadSlab(Transform):
    """Load S slices around a key slice, interpolated at a fixed distance in mm (see `neighbour_weights`).

    Args:
        num_slices: S, odd so that the key slice is the middle one.
        interval_mm: distance of neighbouring slices of the slab, mm.

    Raises:
        ValueError: for an even number of slices.
    """

    def __init__(self, num_slices: int = 9, interval_mm: float = 2.0) -> None:
        if num_slices < 1 or num_slices % 2 == 0:
            raise ValueError(f"num_slices must be odd, so that the key slice is the middle one, got {num_slices}")
        self.num_slices = num_slices
        self.interval_mm = interval_mm

    def __call__(  # type: ignore[override]
        self,
        path: str | os.PathLike[str],
        slice_number: int,
        spacing_mm: Sequence[float] | None = None,
        slices: Sequence[int] | None = None,
    ) -> tuple[Tensor, CTSource]:
        """Load one slab.

        Args:
            path, spacing_mm, slices: as in `open_ct`.
            slice_number: the key slice, counted as ``slices`` is: file number for PNG, else index on
                the network grid.

        Returns:
            float32 [S, H, W] in HU, and the opened CT.

        Raises:
            InputError: when the CT cannot be read or the slice lies outside the run.
        """
        source = open_ct(path, spacing_mm=spacing_mm, slices=slices)
        depth, first = source.shape[0], source.geometry.first_slice_number
        centre = slice_number - first
        if not 0 <= centre < depth:
            raise InputError(
                f"key slice {slice_number} lies outside the slices {first} to {first + depth - 1} of the CT; expected "
                "one of them, so mend the record's slice or its range"
            )
        lower, upper, weight = neighbour_weights(
            centre, self.num_slices, self.interval_mm, source.geometry.spacing_mm[2], depth
        )
        needed, lower, upper = slices_to_read(lower, upper)
        return mix_slices(source.read(needed.tolist()), lower, upper, weight), source


class LoadSlabd(MapTransform):
    """Dictionary form of `LoadSlab`.

    Reads ``item[key]`` (path), ``item[slice_key]`` and, where present, ``item[spacing_key]`` and
    ``item[range_key]``. Writes ``item[key]`` float32 [S, H, W] HU, ``item[view_key]`` the identity
    `View` and ``item[spacing_key]`` the CT's spacing (x, y, z) in mm.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        slice_key: str = "slice",
        spacing_key: str = "spacing_mm",
        range_key: str = "slices",
        num_slices: int = 9,
        interval_mm: float = 2.0,
        view_key: str = "view",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.loader = LoadSlab(num_slices, interval_mm)
        self.slice_key = slice_key
        self.spacing_key = spacing_key
        self.range_key = range_key
        self.view_key = view_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key], source = self.loader(
                data[key], data[self.slice_key], data.get(self.spacing_key), data.get(self.range_key)
            )
            item[self.view_key] = View()
            item[self.spacing_key] = source.geometry.spacing_mm
        return item


LoadSlabD = LoadSlabDict = LoadSlabd
