"""A real CT that lesions are put into, and the parts of it that are free of lesions of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lesion_app.errors import InputError
from transforms.ct_reader import open_ct
from transforms.geometry import VolumeGeometry
from transforms.lesion_hosts import chest_from
from transforms.tissue_map import MapTissues

BoxLPS = tuple[float, float, float, float, float, float]
_KEPT_IN_MEMORY = 4
_MARGIN_MM = 5.0


@dataclass(frozen=True)
class Background:
    """A CT and what it is made of; slices from inferior to superior.

    Args:
        hu: int16 [Z, H, W]; tissues: uint8 [Z, H, W] of `TissueClass`.
        spacing_mm: (x, y, z).
        chest_mm: where the chest begins, from the first slice; infinite where there is none.
    """

    hu: NDArray[np.int16]
    tissues: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    chest_mm: float


@lru_cache(maxsize=_KEPT_IN_MEMORY)
def load_background(path: Path) -> Background:
    """Read a CT and map its tissues (seconds); the last few are kept."""
    source = open_ct(path)
    hu = source.read().numpy()
    spacing = source.geometry.spacing_mm
    tissues = MapTissues()(hu, spacing).numpy()
    first = chest_from(tissues)
    return Background(hu, tissues, spacing, first * spacing[2] if first < len(hu) else np.inf)


@dataclass(frozen=True)
class Stretch:
    """A run of a background's slices, in mm from its first (most inferior) slice's centre.

    Args:
        background: number of the background, counted from 0.
        low_mm, high_mm: the ends.
    """

    background: int
    low_mm: float
    high_mm: float

    @property
    def length_mm(self) -> float:
        """Its length."""
        return self.high_mm - self.low_mm


def free_stretches(number: int, geometry: VolumeGeometry, known: Sequence[BoxLPS]) -> list[Stretch]:
    """Parts of a background that no known lesion reaches into, from inferior to superior.

    Args:
        number: of the background.
        geometry: its grid.
        known: boxes of its own lesions, LPS mm; they get a margin of 5 mm or one slice, whichever is more.
    """
    step = geometry.spacing_mm[2]
    margin = max(_MARGIN_MM, step)
    barred = []
    for box in known:
        corners = np.array([[box[x], box[y], box[z]] for x in (0, 3) for y in (1, 4) for z in (2, 5)])
        inverse = np.linalg.inv(geometry.affine_lps)
        z = (corners @ inverse[2, :3] + inverse[2, 3]) * step
        barred.append((float(z.min()) - margin, float(z.max()) + margin))
    stretches, low, end = [], 0.0, (geometry.shape_zyx[0] - 1) * step
    for first, last in [*sorted(barred), (end, end)]:
        # From slice to slice: nothing is interpolated from beyond the ends.
        start, stop = np.ceil(low / step - 1e-6) * step, np.floor(min(first, end) / step + 1e-6) * step
        if stop > start:
            stretches.append(Stretch(number, float(start), float(stop)))
        low = max(low, last)
    return stretches


def read_known_lesions(path: Path) -> dict[Path, list[BoxLPS]]:
    """Read ``{"datasets": {CT, relative to the file: {"lesions": [{"box_lps_mm": [6]}]}}}``.

    Returns:
        Resolved path of each CT -> its lesions' boxes (xmin, ymin, zmin, xmax, ymax, zmax), LPS mm.

    Raises:
        InputError: the file cannot be read or is of another layout.
    """
    path = Path(path)
    try:
        data_sets: Mapping[str, dict[str, list[dict[str, list[float]]]]] = json.loads(path.read_text("utf-8"))[
            "datasets"
        ]
        return {
            (path.parent / name).resolve(): [_box(lesion["box_lps_mm"]) for lesion in found["lesions"]]
            for name, found in data_sets.items()
        }
    except OSError as error:
        raise InputError(f"the file of known lesions cannot be read ({error.strerror}); check its name") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path.name} is not a file of known lesions; expected JSON with datasets, and for each its lesions with "
            "box_lps_mm [xmin, ymin, zmin, xmax, ymax, zmax]"
        ) from error


def _box(numbers: Sequence[float]) -> BoxLPS:
    x1, y1, z1, x2, y2, z2 = (float(v) for v in numbers)
    return x1, y1, z1, x2, y2, z2
