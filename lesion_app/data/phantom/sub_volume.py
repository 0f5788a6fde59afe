"""What is wished of a made-up sub-volume, and what the writer of a data set needs to know of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from lesion_app.data.phantom.outline import LesionTruth
from lesion_app.errors import InputError

_LONGEST_SCAN_MM = 600.0
_LARGEST_SMALLEST_MM = 40.0  # beyond, hardly a body holds more than one lesion


class SubVolume(Protocol):
    """Slices from head to feet with the complete truth about their lesions."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Spacing (x, y, z) in mm."""

    @property
    def size(self) -> int:
        """Side of the slices in px."""

    @property
    def count(self) -> int:
        """Number of slices."""

    def slices(self) -> Iterator[NDArray[np.uint16]]:
        """Yield the slices [H, W] from head to feet as HU + 32768."""

    def truth(self) -> list[LesionTruth]:
        """Outline of every lesion, at least one."""

    def location(self, lesion: LesionTruth) -> tuple[float, float, float]:
        """Place of a lesion in the body as DL_info.csv writes it: x, y relative to the body, z 0 (head) to 1 (feet)."""


@dataclass(frozen=True)
class SubVolumeSettings:
    """What sub-volumes shall be like.

    Args:
        size: side of the slices in px.
        z_spacings: slice spacings (= thicknesses) to choose from, mm.
        thickness_mm: shortest and longest stretch of the body, mm.
        lesions_per_volume: fewest and most lesions; None = DeepLesion's distribution.
        conspicuity_hu: HU by which lesions stand out more than plausible ones.
        smallest_mm: no lesion's long axis is shorter; 0 = DeepLesion's sizes.
    """

    size: int
    z_spacings: tuple[float, ...]
    thickness_mm: tuple[float, float]
    lesions_per_volume: tuple[int, int] | None
    conspicuity_hu: float
    smallest_mm: float = 0.0

    def check(self) -> None:
        """Raise InputError for a value out of its range."""
        if self.size < 64:
            refuse(f"size is {self.size} px", "64 px or more")
        if not self.z_spacings or not all(0 < v <= 10 for v in self.z_spacings):
            refuse(f"z spacings are {self.z_spacings}", "one or more spacings in mm, above 0 and up to 10")
        if not 0 < self.thickness_mm[0] <= self.thickness_mm[1] <= _LONGEST_SCAN_MM:
            refuse(
                f"thickness_mm is {self.thickness_mm}",
                f"the shortest and the longest stretch in mm, up to {_LONGEST_SCAN_MM:g}",
            )
        counts = self.lesions_per_volume
        if counts is not None and not 1 <= counts[0] <= counts[1]:
            refuse(f"lesions_per_volume is {counts}", "the fewest (1 or more) and the most lesions")
        if not 0 <= self.conspicuity_hu <= 500:
            refuse(f"conspicuity_hu is {self.conspicuity_hu}", "0 to 500 HU")
        if not 0 <= self.smallest_mm <= _LARGEST_SMALLEST_MM:
            refuse(f"smallest_mm is {self.smallest_mm:g}", f"0 to {_LARGEST_SMALLEST_MM:g} mm")


def refuse(found: str, expected: str) -> NoReturn:
    """Raise the InputError of a data set that cannot be written as wished."""
    raise InputError(f"The data set cannot be written: {found}; expected {expected}.")
