"""A phantom patient scanned again: the same body and lesions, another visit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lesion_app.data.phantom.lesions import Lesion
from lesion_app.data.phantom.patient import Phantom
from lesion_app.data.phantom.scanner import draw_scanner
from lesion_app.data.phantom.shapes import Blob

_GROWTH = (0.82, 1.2)
_HU_CHANGE = 8.0


def draw_follow_up(before: Phantom, seed: np.random.SeedSequence, z_spacings: tuple[float, ...]) -> Phantom:
    """The patient at a later visit: every lesion has grown or shrunk a little, the scanner and its settings are others.

    Lesions keep their place and order, so that the number of a lesion is the same on all visits.

    Args:
        before: another visit.
        seed: everything about this one follows from it.
        z_spacings: slice spacings to choose from, mm; the same stretch of the body is covered.
    """
    scan, disease, noise = seed.spawn(3)
    rng = np.random.default_rng(scan)
    step = float(rng.choice(np.asarray(z_spacings, dtype=np.float64)))
    low, high = float(before.z_mm[0]), float(before.z_mm[-1])
    count = max(2, round((high - low) / step) + 1)
    z = np.asarray((low + high) / 2 + step * (np.arange(count) - (count - 1) / 2), dtype=np.float64)
    # Wider only: the body fills the field of view, and must not be cut.
    pixel = float(np.round(before.spacing_mm[0] * rng.uniform(1.0, 1.06), 6))
    growth = np.random.default_rng(disease)
    return replace(
        before,
        scanner=draw_scanner(rng, before.size, pixel, step),
        lesions=tuple(_later(lesion, growth) for lesion in before.lesions),
        spacing_mm=(pixel, pixel, step),
        z_mm=z,
        noise_seed=noise,
    )


def _later(lesion: Lesion, rng: np.random.Generator) -> Lesion:
    factor, shift = float(rng.uniform(*_GROWTH)), float(rng.normal(0.0, _HU_CHANGE))

    def later(blob: Blob) -> Blob:
        a, b, c = blob.radii
        # A core keeps its place relative to the lesion it lies in.
        x, y, z = (m + factor * (v - m) for m, v in zip(lesion.body.centre, blob.centre))
        waves = blob.waves * np.array([factor, factor, 1.0, 1.0, 1.0 / factor])
        return replace(
            blob,
            centre=(x, y, z),
            radii=(a * factor, b * factor, c * factor),
            hu=blob.hu + shift,
            waves=waves,
        )

    return replace(lesion, body=later(lesion.body), after=tuple(later(core) for core in lesion.after))
