"""Write a whole phantom data set in DeepLesion's layout, with its complete truth beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lesion_app.data.phantom.data_set import DataSetSummary, MissingLaw, write_data_set
from lesion_app.data.phantom.patient import Phantom, draw_phantom
from lesion_app.data.phantom.sub_volume import SubVolumeSettings

PhantomSummary = DataSetSummary


@dataclass(frozen=True)
class _DrawPhantom:
    settings: SubVolumeSettings

    def __call__(self, seed: np.random.SeedSequence, split: str) -> Phantom:
        wanted = self.settings
        return draw_phantom(
            seed,
            wanted.size,
            wanted.z_spacings,
            wanted.thickness_mm,
            wanted.lesions_per_volume,
            wanted.conspicuity_hu,
            smallest_mm=wanted.smallest_mm,
        )


def write_phantom(
    out: Path,
    patients: int,
    seed: int = 0,
    *,
    missing_law: MissingLaw = "deeplesion",
    missing_rate: float | None = None,
    thickness_mm: tuple[float, float] = (55.0, 75.0),
    split: tuple[float, float, float] = (0.7, 0.15, 0.15),
    size: int = 512,
    lesions_per_volume: tuple[int, int] | None = None,
    z_spacings: Sequence[float] = (1.0, 2.0, 5.0),
    conspicuity_hu: float = 0.0,
    smallest_mm: float = 0.0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> PhantomSummary:
    """Write ``out``: ``Images_png/<series>/<NNN>.png``, ``DL_info.csv``, ``truth.json``, ``complete_{val,test}.json``.

    One patient has one series with one sub-volume. The same arguments give the same bytes for any ``workers``.

    Args:
        out: new or empty folder.
        patients: number of patients, at least 1.
        seed: everything drawn follows from it.
        missing_law: which lesions lose their label, see `lesion_app.data.missing_labels.draw_labelled`.
        missing_rate: expected share of lesions without a label; None = as measured on DeepLesion.
        thickness_mm: shortest and longest stretch of the body per sub-volume, mm.
        split: shares of training, validation and test patients.
        size: side of the slices in px. Pixels stay 0.6 to 1.0 mm, so that small images show small bodies.
        lesions_per_volume: fewest and most lesions; None = DeepLesion's distribution (mean 3.42).
        z_spacings: slice spacings (= thicknesses) to choose from, mm.
        conspicuity_hu: HU by which every lesion stands out more than a plausible one; for demonstrations and
            tests on small networks, results on such data say nothing about real lesions.
        smallest_mm: no lesion's long axis is shorter, likewise; 0 = DeepLesion's sizes.
        workers: processes.
        progress: called with (patients done, patients) after each patient.

    Returns:
        Counts of what was written.

    Raises:
        InputError: ``out`` is not empty, or an argument is out of its range. Nothing is left behind.
    """
    out = Path(out)
    settings = SubVolumeSettings(
        size=size,
        z_spacings=tuple(float(v) for v in z_spacings),
        thickness_mm=(float(thickness_mm[0]), float(thickness_mm[1])),
        lesions_per_volume=lesions_per_volume,
        conspicuity_hu=float(conspicuity_hu),
        smallest_mm=float(smallest_mm),
    )
    settings.check()
    return write_data_set(
        out,
        patients,
        seed,
        _DrawPhantom(settings),
        split=split,
        missing_law=missing_law,
        missing_rate=missing_rate,
        workers=workers,
        progress=progress,
    )
