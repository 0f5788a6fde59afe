"""A patient's body as a list of solids in painting order, and the slice they make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesion_app.data.phantom.organs import abdomen, bowel, chest, pelvis
from lesion_app.data.phantom.scanner import Texture
from lesion_app.data.phantom.shapes import Image, SliceGrid, Tube
from lesion_app.data.phantom.tissue import Tissue
from lesion_app.data.phantom.torso import Build, Solid, body_wall, draw_build, muscles, skeleton
from lesion_app.data.phantom.vessels import great_vessels, lung_vessels, organ_vessels

_AIR_HU = -1000.0
_TABLE_GAP_MM = 3.0


@dataclass(frozen=True)
class Anatomy:
    """A body; solids are in adult mm (z = -height), ``scale`` turns adult mm into this patient's mm."""

    build: Build
    solids: tuple[Solid, ...]
    scale: float

    def _adult(self, grid: SliceGrid) -> SliceGrid:
        s = np.float32(1 / self.scale)
        return SliceGrid(
            grid.x * s, grid.y * s, grid.z * float(s), grid.thickness_mm * float(s), grid.pixel_mm * float(s)
        )

    def render(self, grid: SliceGrid, texture: Texture) -> Image:
        """Noise-free slice [H, W] float32 in HU on ``grid`` (patient mm)."""
        image = np.full((len(grid.y), len(grid.x)), _AIR_HU, dtype=np.float32)
        adult = self._adult(grid)
        self._paint_table(image, adult)
        tile = texture.at(grid.z, image.shape)
        for solid in self.solids:
            if isinstance(solid, Tube):
                for hu, window, coverage in solid.segments(adult):
                    part = image[window]
                    part += coverage * (hu + np.float32(solid.texture) * tile[window] - part)
            elif (found := solid.coverage(adult)) is not None:
                part = image[found[0]]
                inside = (
                    np.float32(solid.hu) + np.float32(solid.texture) * tile[found[0]] if solid.texture else solid.hu
                )
                part += found[1] * (inside - part)
        return image

    def tissues(self, grid: SliceGrid) -> NDArray[np.uint8]:
        """Map [H, W] of `Tissue` on ``grid`` (patient mm): the last solid that fills half of a pixel."""
        image = np.full((len(grid.y), len(grid.x)), Tissue.AIR, dtype=np.uint8)
        adult = self._adult(grid)
        for solid in self.solids:
            if isinstance(solid, Tube):
                for _, window, coverage in solid.segments(adult):
                    image[window][coverage > 0.5] = solid.tissue
            elif (found := solid.coverage(adult)) is not None:
                image[found[0]][found[1] > 0.5] = solid.tissue
        return image

    def _paint_table(self, image: Image, adult: SliceGrid) -> None:
        """A curved carbon-fibre couch under the back."""
        depth = float(np.max(self.build.skin(np.linspace(180, 560, 12))[1])) + _TABLE_GAP_MM
        curve = depth - 16.0 * np.square(np.clip(adult.x / 200.0, -1.3, 1.3))
        rows = slice(int(np.searchsorted(adult.y, depth - 20)), int(np.searchsorted(adult.y, depth + 32)))
        below = adult.y[rows, None] - curve[None, :].astype(np.float32)
        filled = np.where(np.abs(adult.x)[None, :] < 205, 1.0, 0.0)
        shell = np.clip(1.8 - np.abs(below), 0, 1) + np.clip(1.8 - np.abs(below - 20), 0, 1)
        core = ((below > 0) & (below < 20)).astype(np.float32)
        image[rows] += ((930.0 * shell + 60.0 * core) * filled).astype(np.float32)


def draw_anatomy(rng: np.random.Generator, field_of_view_mm: float, h_range: tuple[float, float]) -> Anatomy:
    """Draw a patient whose body fills the field of view over the heights ``h_range`` (adult mm)."""
    build = draw_build(rng)
    width = float(np.max(build.skin(np.linspace(*h_range, 9))[0]))
    scale = min(1.12, field_of_view_mm * float(rng.uniform(0.88, 0.985)) / (2 * width))
    solids = [
        *body_wall(build, rng),
        *chest(build, rng),
        *muscles(build),
        *great_vessels(build, rng),
        *lung_vessels(build, rng),
        *bowel(build, rng),
        *pelvis(build, rng),
        *abdomen(build, rng),
        *organ_vessels(build, rng),
        *skeleton(build, rng),
    ]
    return Anatomy(build, tuple(solids), scale)
