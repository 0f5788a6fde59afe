"""One phantom patient: body, lesions, slices and the truth about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesion_app.data.phantom.anatomy import Anatomy, draw_anatomy
from lesion_app.data.phantom.lesions import Lesion, TissueMap, draw_lesions
from lesion_app.data.phantom.outline import LesionTruth, outline_lesion
from lesion_app.data.phantom.scanner import Scanner, Texture, draw_scanner, draw_texture
from lesion_app.data.phantom.shapes import Image, SliceGrid
from lesion_app.data.phantom.site import Site
from lesion_app.data.phantom.torso import BOTTOM_MM, TOP_MM

_BODY_LIFT_MM = 6.0  # the patient lies above the isocentre's horizon, the couch needs room below
_USUAL_LEVEL_MM = 420.0  # most of DeepLesion's lesions lie in the chest and the upper abdomen
_MAP_PIXELS, _MAP_STEP_MM = 96, 10.0


@dataclass(frozen=True)
class Phantom:
    """A sub-volume ready to be rendered; slice i lies at ``z_mm[i]`` (patient mm, to the feet)."""

    anatomy: Anatomy
    scanner: Scanner
    texture: Texture
    lesions: tuple[Lesion, ...]
    spacing_mm: tuple[float, float, float]
    size: int
    z_mm: NDArray[np.float64]
    noise_seed: np.random.SeedSequence

    def grid(self, index: int, finer: int = 1) -> SliceGrid:
        """Pixels of slice ``index``, each cut into ``finer`` x ``finer``."""
        pixel = self.spacing_mm[0] / finer
        x = ((np.arange(self.size * finer) - self.size * finer / 2 + 0.5) * pixel).astype(np.float32)
        return SliceGrid(x, x + np.float32(_BODY_LIFT_MM), float(self.z_mm[index]), self.spacing_mm[2], pixel)

    def slices(self) -> Iterator[NDArray[np.uint16]]:
        """Yield the slices [H, W] from head to feet as HU + 32768."""
        rng = np.random.default_rng(self.noise_seed)
        for index in range(len(self.z_mm)):
            grid = self.grid(index)
            image = self.anatomy.render(grid, self.texture)
            tile = self.texture.at(grid.z, image.shape)
            for lesion in self.lesions:
                _paint(image, grid, tile, lesion)
            yield self.scanner.expose(image, rng)

    @property
    def count(self) -> int:
        """Number of slices."""
        return len(self.z_mm)

    def truth(self) -> list[LesionTruth]:
        """Outline of every lesion, in the order of ``lesions``."""
        return [self._outline(lesion) for lesion in self.lesions]

    def location(self, lesion: LesionTruth) -> tuple[float, float, float]:
        """Place of a lesion in the body: x, y relative to the body's width and depth, z 0 (head) to 1 (feet)."""
        level = -float(self.z_mm[lesion.key_index]) / self.anatomy.scale  # adult mm above the pelvic floor
        width, depth = (float(v) for v in self.anatomy.build.skin(level))
        grid, scale = self.grid(lesion.key_index), self.anatomy.scale
        x, y = lesion.key.points.mean(axis=0)
        return (
            0.5 + float(np.interp(x, np.arange(self.size), grid.x)) / scale / (2 * width),
            0.5 + float(np.interp(y, np.arange(self.size), grid.y)) / scale / (2 * depth),
            # DeepLesion's z comes from a body-part regressor; the line runs through its means for lung and pelvis.
            0.80 - 0.000775 * (level - 120.0),
        )

    def _outline(self, lesion: Lesion) -> LesionTruth:
        width = 2 * lesion.body.radii[1] / self.spacing_mm[0]
        return outline_lesion(
            lesion.type,
            lambda index, finer: lesion.body.coverage(self.grid(index, finer)),
            self.count,
            width,
            self.spacing_mm,
        )


def _paint(image: Image, grid: SliceGrid, tile: Image, lesion: Lesion) -> None:
    for tube in lesion.before:
        for hu, window, filled in tube.segments(grid):
            image[window] += filled * (np.float32(hu) - image[window])
    for blob in (lesion.body, *lesion.after):
        if (found := blob.coverage(grid)) is not None:
            window, filled = found
            inside = np.float32(blob.hu) + np.float32(blob.texture) * tile[window]
            image[window] += filled * (inside - image[window])


def draw_phantom(
    seed: np.random.SeedSequence,
    size: int,
    z_spacings: tuple[float, ...],
    thickness_mm: tuple[float, float],
    lesions_per_volume: tuple[int, int] | None,
    conspicuity_hu: float = 0.0,
    site: Site | None = None,
    smallest_mm: float = 0.0,
) -> Phantom:
    """Draw one patient.

    Args:
        seed: everything about the patient follows from it.
        size: side of the slices in px.
        z_spacings: slice spacings to choose from, mm.
        thickness_mm: shortest and longest stretch of the body to scan, mm.
        lesions_per_volume: fewest and most lesions; None = DeepLesion's distribution.
        conspicuity_hu: HU by which lesions stand out more than plausible ones.
        site: level of the body and lesion types that prevail; None = DeepLesion's.
        smallest_mm: no lesion's long axis is shorter; 0 = DeepLesion's sizes.
    """
    body, scan, disease, noise = seed.spawn(4)
    rng = np.random.default_rng(scan)
    pixel = float(np.round(np.clip(rng.normal(0.80, 0.09), 0.6, 1.0), 6))
    step = float(rng.choice(np.asarray(z_spacings, dtype=np.float64)))
    count = max(2, round(float(rng.uniform(*thickness_mm)) / step))
    if site is None:
        middle = float(rng.triangular(BOTTOM_MM, _USUAL_LEVEL_MM, TOP_MM))
    else:
        middle = float(rng.uniform(*site.level_mm))
    # The scale follows from the body's width near the level; small images get small bodies.
    anatomy = draw_anatomy(np.random.default_rng(body), size * pixel, (middle - 40, middle + 40))
    half = 0.5 * step * (count - 1) / anatomy.scale
    middle = float(np.clip(middle, min(BOTTOM_MM + half, 330.0), max(TOP_MM - half, 330.0)))
    z = np.asarray(-middle * anatomy.scale + step * (np.arange(count) - (count - 1) / 2), dtype=np.float64)
    scanner, texture = draw_scanner(rng, size, pixel, step), draw_texture(rng, size, pixel)
    hosts = {solid.tissue: float(np.max(solid.hu)) for solid in reversed(anatomy.solids)}
    lesions = draw_lesions(
        np.random.default_rng(disease),
        _map(anatomy, z, size * pixel),
        lambda tissue, _: hosts[tissue],
        anatomy.build.contrast,
        step,
        lesions_per_volume,
        conspicuity_hu,
        site=site,
        smallest_mm=smallest_mm,
    )
    return Phantom(anatomy, scanner, texture, tuple(lesions), (pixel, pixel, step), size, z, noise)


def _map(anatomy: Anatomy, z: NDArray[np.float64], field_mm: float) -> TissueMap:
    """Tissues between the second and the last but one slice, so that lesions are not cut at their middle."""
    first, last = (z[1], z[-2]) if len(z) > 3 else (z.mean(), z.mean())
    planes = np.linspace(first, last, max(1, round((last - first) / _MAP_STEP_MM) + 1))
    x = ((np.arange(_MAP_PIXELS) + 0.5) / _MAP_PIXELS - 0.5) * field_mm
    pixel = field_mm / _MAP_PIXELS
    grids = [
        SliceGrid(x.astype(np.float32), (x + _BODY_LIFT_MM).astype(np.float32), float(plane), 1.0, pixel)
        for plane in planes
    ]
    return TissueMap(np.stack([anatomy.tissues(grid) for grid in grids]), planes, x + _BODY_LIFT_MM, x)
