"""Blend made-up lesions into a real CT at plausible places."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, Transform
from numpy.typing import NDArray
from torch import Tensor

from lesion_app.data.phantom.lesions import Lesion, draw_lesions
from transforms.lesion_hosts import map_hosts
from transforms.lesion_site import LesionSite, SiteFinder
from transforms.scan_noise import ScanNoise, measure_noise
from transforms.tissue_map import MapTissues, TissueClass

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class InsertedLesion:
    """A lesion as it lies in the volume (voxels of the volume's own grid).

    Args:
        type: DeepLesion's type 1..8.
        host: class of the tissue it was put into.
        site: outline; `LesionSite.filled` gives what it fills of any slice.
        window: (slices, rows, columns) that hold everything that was painted.
        touched: bool [z, y, x] of ``window``, every voxel that was changed.
        coverage: float32 [z, y, x] of ``window``, how much of each voxel is lesion, 0..1.
    """

    type: int
    host: TissueClass
    site: LesionSite
    window: tuple[slice, slice, slice]
    touched: NDArray[np.bool_]
    coverage: Volume

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Voxels of ``window`` that are at least half as full as the fullest one, bool [z, y, x]."""
        return np.asarray(self.coverage > 0.5 * self.coverage.max())

    @property
    def box(self) -> tuple[float, float, float, float, float, float]:
        """Tight box (x1, y1, z1, x2, y2, z2) of ``mask`` in voxels of the volume, 0-based, half-open."""
        places = np.argwhere(self.mask) + [part.start for part in self.window]
        (z1, y1, x1), (z2, y2, x2) = places.min(axis=0), places.max(axis=0) + 1
        return float(x1), float(y1), float(z1), float(x2), float(y2), float(z2)


class InsertLesions(Randomizable, Transform):
    """Draw lesions by the phantom's distributions and paint them into a CT.

    Type, size, outline, margin and attenuation are those of `lesion_app.data.phantom.lesions`; attenuation of lesions
    in organs and muscle is relative to the host around their place. A lesion keeps to its host (a nodule stops at the
    pleura, a bone lesion at the cortex), never reaches the air around the patient or the border of the image, differs
    visibly from what was there, and bears noise of the scan's own strength and grain.

    Args:
        lesions_per_volume: fewest and most lesions; None = DeepLesion's distribution (mean 3.42).
        conspicuity_hu: HU by which lesions stand out more than plausible ones.
        smallest_mm: no lesion's long axis is shorter; 0 = DeepLesion's sizes.
    """

    def __init__(
        self,
        lesions_per_volume: tuple[int, int] | None = None,
        conspicuity_hu: float = 0.0,
        smallest_mm: float = 0.0,
    ) -> None:
        super().__init__()
        self.smallest_mm = smallest_mm
        self.lesions_per_volume = lesions_per_volume
        self.conspicuity_hu = conspicuity_hu
        self.map_tissues = MapTissues()
        self._seed = 0

    def randomize(self, data: Any = None) -> None:
        """Draw the seed of one volume's lesions."""
        self._seed = int(self.R.randint(2**63, dtype=np.int64))

    def __call__(  # type: ignore[override]
        self,
        volume: Tensor | NDArray[Any],
        spacing_mm: Sequence[float],
        tissues: Tensor | NDArray[np.uint8] | None = None,
        chest: int | None = None,
    ) -> tuple[Tensor, list[InsertedLesion]]:
        """Insert lesions.

        Args:
            volume: [Z, H, W] HU of any number type, slices from inferior to superior; it is left as it is.
            spacing_mm: (x, y, z); slices are taken to be as thick as they are apart.
            tissues: [Z, H, W] of `TissueClass`; None maps them here. A map of the whole CT knows more than one of the
                part that is shown.
            chest: number of the first slice that is chest and no abdomen (`map_hosts`); None finds it.

        Returns:
            float32 [Z, H, W] HU, and the lesions, none where the volume has no room for any.

        Raises:
            ValueError: when pixels are not square.
        """
        if abs(spacing_mm[0] - spacing_mm[1]) > 0.01 * spacing_mm[0]:
            raise ValueError(
                f"lesions need square pixels, got {spacing_mm[0]:g} x {spacing_mm[1]:g} mm; resample first"
            )
        self.randomize()
        hu = np.array(volume, dtype=np.float32)
        spacing = (float(spacing_mm[0]), float(spacing_mm[1]), float(spacing_mm[2]))
        classes = np.asarray(self.map_tissues(hu, spacing) if tissues is None else tissues)
        rng = np.random.default_rng(self._seed)
        noise = measure_noise(hu, classes, spacing)
        finder = SiteFinder(hu, classes, spacing, noise.sigma_hu)
        try:
            drawn = draw_lesions(
                rng,
                map_hosts(classes, spacing, chest),
                finder.host_hu,
                finder.contrast,
                spacing[2],
                self.lesions_per_volume,
                self.conspicuity_hu,
                finder.accept,
                smallest_mm=self.smallest_mm,
            )
        except RuntimeError:  # no room
            drawn = []
        lesions = [_paint(hu, lesion, site, noise, rng) for lesion, site in zip(drawn, finder.sites)]
        return torch.from_numpy(hu), lesions


class InsertLesionsd(Randomizable, MapTransform):
    """Dictionary form of `InsertLesions`.

    Reads ``item[key]`` [Z, H, W] HU, ``item[spacing_key]`` (x, y, z) mm and, where present, ``item[tissue_key]``;
    writes ``item[key]`` float32 and ``item[lesions_key]``, a list of `InsertedLesion`.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        lesions_per_volume: tuple[int, int] | None = None,
        conspicuity_hu: float = 0.0,
        spacing_key: str = "spacing_mm",
        tissue_key: str = "tissues",
        lesions_key: str = "lesions",
        allow_missing_keys: bool = False,
        smallest_mm: float = 0.0,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.inserter = InsertLesions(lesions_per_volume, conspicuity_hu, smallest_mm)
        self.spacing_key = spacing_key
        self.tissue_key = tissue_key
        self.lesions_key = lesions_key

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> InsertLesionsd:
        """Seed the draws."""
        super().set_random_state(seed, state)
        self.inserter.set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Nothing to draw here: the array transform draws."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key], item[self.lesions_key] = self.inserter(
                item[key], item[self.spacing_key], item.get(self.tissue_key)
            )
        return item


def _paint(
    volume: Volume, lesion: Lesion, site: LesionSite, noise: ScanNoise, rng: np.random.Generator
) -> InsertedLesion:
    """Paint one lesion into ``volume`` in place: spicules, body, necrotic centre."""
    window = site.window
    part, before = volume[window], volume[window].copy()
    coverage = np.zeros_like(part)
    grain = noise.draw(rng, part.shape)
    for index in range(part.shape[0]):
        number = window[0].start + index
        for tube in lesion.before:
            for hu, filled in site.tube_segments(tube, number):
                part[index] += filled * (np.float32(hu) - part[index])
                coverage[index] = np.maximum(coverage[index], filled)
        for blob in (lesion.body, *lesion.after):
            filled = site.filled_by(blob, number)
            strength = np.float32(np.hypot(noise.sigma_hu, blob.texture))
            part[index] += filled * (np.float32(blob.hu) + strength * grain[index] - part[index])
    body = np.stack([site.filled_by(lesion.body, window[0].start + i) for i in range(part.shape[0])])
    return InsertedLesion(lesion.type, site.host, site, window, part != before, body)


InsertLesionsD = InsertLesionsDict = InsertLesionsd
