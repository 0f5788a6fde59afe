"""The slabs above and below a slab, cut from a taller one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from torch import Tensor

from lesion_app.errors import InputError


class NeighbourSlabs(Transform):
    """Cut a tall slab into the middle slab and the two shifted by ``step`` slices.

    Args:
        num_slices: S of the slabs wanted.
        step: slices of the slab that the neighbours are shifted by.

    Raises:
        ValueError: for a number below 1.
    """

    def __init__(self, num_slices: int = 9, step: int = 1) -> None:
        if num_slices < 1 or step < 1:
            raise ValueError(f"num_slices and step must be at least 1, got {num_slices} and {step}")
        self.num_slices = num_slices
        self.step = step

    def __call__(self, slab: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The middle slab ``[S, H, W]`` and its two neighbours, views of ``slab`` ``[S + 2 step, H, W]``.

        Raises:
            InputError: another number of slices.
        """
        wanted = self.num_slices + 2 * self.step
        if len(slab) != wanted:
            raise InputError(
                f"a slab of {len(slab)} slices was loaded, {wanted} are needed to cut slabs of {self.num_slices} "
                f"and their neighbours {self.step} away; set num_slices of LoadSlabd to {wanted}"
            )
        below, middle, above = (slab[i * self.step : i * self.step + self.num_slices] for i in range(3))
        return middle, [below, above]


class NeighbourSlabsd(MapTransform):
    """Dictionary form of `NeighbourSlabs`: ``item[key]`` becomes the middle slab, ``item[out_key]`` the neighbours."""

    def __init__(
        self,
        keys: KeysCollection = "image",
        num_slices: int = 9,
        step: int = 1,
        out_key: str = "neighbours",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.cut = NeighbourSlabs(num_slices, step)
        self.out_key = out_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key], item[self.out_key] = self.cut(item[key])
        return item


NeighbourSlabsD = NeighbourSlabsDict = NeighbourSlabsd
