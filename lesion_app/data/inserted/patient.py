"""One patient: a view of a real CT with lesions in it, and the truth about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesion_app.data.inserted.background import Background, Stretch, load_background
from lesion_app.data.inserted.view import View, draw_view
from lesion_app.data.phantom.outline import LesionTruth, outline_lesion
from lesion_app.data.phantom.scanner import Scanner, draw_scanner
from lesion_app.data.phantom.sub_volume import SubVolumeSettings, refuse
from transforms.insert_lesions import InsertedLesion, InsertLesions
from transforms.scan_noise import measure_noise
from transforms.tissue_map import TissueClass

_TRIALS = 12
_LEAST_NOISE = 0.3  # of the drawn scanner's, added even to a scan that is noisy already


@dataclass(frozen=True)
class InsertedPatient:
    """A sub-volume ready to be written; arrays run from inferior to superior, slices are given from head to feet.

    Args:
        hu: float32 [Z, size, size] with its lesions; classes: `TissueClass` of the voxels before that.
        lesions: at least one.
        scanner: adds noise.
        level: [Z] place of the slices between the background's last (0, head) and first (1, feet) slice.
    """

    hu: NDArray[np.float32]
    classes: NDArray[np.uint8]
    lesions: tuple[InsertedLesion, ...]
    scanner: Scanner
    spacing_mm: tuple[float, float, float]
    level: NDArray[np.floating[Any]]
    noise_seed: np.random.SeedSequence

    @property
    def size(self) -> int:
        """Side of the slices in px."""
        return int(self.hu.shape[1])

    @property
    def count(self) -> int:
        """Number of slices."""
        return len(self.hu)

    def slices(self) -> Iterator[NDArray[np.uint16]]:
        """Yield the slices [H, W] from head to feet as HU + 32768."""
        rng = np.random.default_rng(self.noise_seed)
        for plane in self.hu[::-1]:
            yield self.scanner.expose(plane.copy(), rng)

    def truth(self) -> list[LesionTruth]:
        """Outline of every lesion, in the order of ``lesions``; slice 0 is at the head."""
        return [self._outline(lesion) for lesion in self.lesions]

    def location(self, lesion: LesionTruth) -> tuple[float, float, float]:
        """Place of a lesion: x, y relative to the body on its key slice, z 0 (head) to 1 (feet) of the background."""
        index = self.count - 1 - lesion.key_index
        body = self.classes[index] != TissueClass.OUTSIDE
        x, y = lesion.key.points.mean(axis=0)
        columns, rows = np.flatnonzero(body.any(axis=0)), np.flatnonzero(body.any(axis=1))
        return (
            float((x - columns[0]) / max(columns[-1] - columns[0], 1)),
            float((y - rows[0]) / max(rows[-1] - rows[0], 1)),
            float(self.level[index]),
        )

    def _outline(self, lesion: InsertedLesion) -> LesionTruth:
        last = self.count - 1
        width = 2 * lesion.site.body.radii[1] / self.spacing_mm[0]
        return outline_lesion(
            lesion.type,
            lambda index, finer: lesion.site.filled(last - index, finer),
            self.count,
            width,
            self.spacing_mm,
        )


@dataclass(frozen=True)
class DrawInserted:
    """Draws patients from the stretches of their split; picklable for worker processes."""

    backgrounds: tuple[Path, ...]
    stretches: dict[str, list[Stretch]]
    settings: SubVolumeSettings

    def __call__(self, seed: np.random.SeedSequence, split: str) -> InsertedPatient:
        """Draw one patient of ``split``.

        Raises:
            InputError: when no lesion fits into any view tried, or the background is too narrow.
        """
        stretches = self.stretches[split]
        lengths = np.array([one.length_mm for one in stretches])
        for trial in seed.spawn(_TRIALS):
            scan, disease, noise = trial.spawn(3)
            rng = np.random.default_rng(scan)
            stretch = stretches[int(rng.choice(len(stretches), p=lengths / lengths.sum()))]
            background = load_background(self.backgrounds[stretch.background])
            view = draw_view(rng, background, stretch, self.settings)
            patient = _draw_patient(rng, background, view, self.settings, disease, noise)
            if patient is not None:
                return patient
        return refuse(
            f"no lesion found room in {_TRIALS} views of the backgrounds' stretches for {split}",
            "backgrounds that show lung, fat, muscle or bone, or larger slices",
        )


def _draw_patient(
    rng: np.random.Generator,
    background: Background,
    view: View,
    wanted: SubVolumeSettings,
    disease: np.random.SeedSequence,
    noise: np.random.SeedSequence,
) -> InsertedPatient | None:
    hu, classes = view.cut(background)
    spacing = (view.pixel_mm, view.pixel_mm, view.step_mm)
    insert = InsertLesions(wanted.lesions_per_volume, wanted.conspicuity_hu, wanted.smallest_mm)
    insert.set_random_state(seed=int(disease.generate_state(1)[0]))
    volume, lesions = insert(hu, spacing, classes, int(np.searchsorted(view.z_mm, background.chest_mm)))
    if not lesions:
        return None
    scanner = _scanner_for(rng, wanted.size, spacing, measure_noise(hu, classes, spacing).sigma_hu)
    level = 1.0 - view.z_mm / ((len(background.hu) - 1) * background.spacing_mm[2])
    return InsertedPatient(volume.numpy(), classes, tuple(lesions), scanner, spacing, level, noise)


def _scanner_for(
    rng: np.random.Generator, size: int, spacing_mm: tuple[float, float, float], present_hu: float
) -> Scanner:
    """A scanner that adds what the resampled scan lacks of a usual scan's noise."""
    scanner = draw_scanner(rng, size, spacing_mm[0], spacing_mm[2])
    lacking = np.sqrt(max(scanner.sigma_hu**2 - present_hu**2, (_LEAST_NOISE * scanner.sigma_hu) ** 2))
    share = np.float32(lacking / scanner.sigma_hu)
    return replace(scanner, sigma_hu=float(lacking), profile=scanner.profile * share)
