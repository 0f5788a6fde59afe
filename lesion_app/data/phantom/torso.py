"""Body wall and skeleton of the phantom, in adult millimetres.

Heights ``h`` count upwards from the pelvic floor (about 0) to the shoulders (about 680); solids get z = -h.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lesion_app.data.phantom.shapes import Blob, Image, SliceGrid, Tube, Window, make_waves, smooth_path
from lesion_app.data.phantom.tissue import Tissue

TOP_MM, BOTTOM_MM = 640.0, 15.0
"""Heights between which the phantom is worth scanning."""

# Half-widths of the skin by height: (h, left-right, front-back), of an adult of average build.
_SKIN = np.array(
    [(0, 170, 98), (60, 178, 110), (130, 172, 112), (200, 160, 104), (260, 153, 102), (340, 158, 110), (430, 166, 117)]
    + [(520, 171, 118), (580, 176, 112), (630, 190, 100), (690, 165, 84)],
    dtype=np.float64,
)
# Thickness of the muscular wall by height: (h, at the sides, in front and behind).
_WALL = np.array(
    [
        (0, 74, 50),
        (60, 60, 32),
        (130, 44, 20),
        (190, 22, 14),
        (230, 14, 12),
        (340, 12, 11),
        (420, 13, 12),
        (560, 17, 14),
    ]
    + [(610, 34, 15), (690, 60, 18)],
    dtype=np.float64,
)
_RIB_PITCH_MM, _FIRST_RIB_MM, _DISC_MM = 26.0, 640.0, 5.0


@dataclass(frozen=True)
class Column:
    """A solid running through the whole body whose outline changes with height.

    Args:
        profile: [n, 5] rows (h, x, y of the centre, half-width, half-depth) in mm, h increasing.
        The others as in `Blob`; ``h_range`` cuts it to a slab of heights.
    """

    profile: NDArray[np.float64]
    hu: float
    tissue: Tissue
    h_range: tuple[float, float] = (-np.inf, np.inf)
    edge_mm: float = 1.5
    waves: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 5)))
    texture: float = 0.0
    power: int = 2

    def coverage(self, grid: SliceGrid) -> tuple[Window, Image] | None:
        """Pixels (rows, columns) and how much of each is filled [h, w]; None when the slice is missed."""
        h = -grid.z
        if not self.h_range[0] <= h < self.h_range[1]:
            return None
        x, y, half_width, half_depth = (float(np.interp(h, self.profile[:, 0], v)) for v in self.profile[:, 1:].T)
        slab = Blob(
            (x, y, 0.0),
            (half_width, half_depth, 1e6),
            self.hu,
            self.tissue,
            edge_mm=self.edge_mm,
            waves=self.waves,
            power=self.power,
            layer_mm=np.inf,
        )
        return slab.coverage(grid)


Solid = Blob | Tube | Column


@dataclass(frozen=True)
class Build:
    """One patient's build in adult mm: thickness of fat, half-widths of cavities, HU of tissues by contrast phase."""

    fat_mm: float
    muscle_hu: float
    fat_hu: float
    lung_hu: float
    contrast: float

    def skin(self, h: NDArray[np.float64] | float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Half-width and half-depth of the body at heights h (mm)."""
        grown = self.fat_mm - 14.0
        width, depth = (np.asarray(np.interp(h, _SKIN[:, 0], _SKIN[:, i])) for i in (1, 2))
        return width + grown, depth + 0.8 * grown

    def muscle(self, h: NDArray[np.float64] | float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Half-width and half-depth inside the subcutaneous fat."""
        width, depth = self.skin(h)
        return width - self.fat_mm, depth - 0.8 * self.fat_mm

    def cavity(self, h: NDArray[np.float64] | float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Half-width and half-depth inside the muscular wall and the ribs."""
        width, depth = self.muscle(h)
        sides, ends = (np.interp(h, _WALL[:, 0], _WALL[:, i]) for i in (1, 2))
        return width - sides, depth - ends


def draw_build(rng: np.random.Generator) -> Build:
    """Draw a patient's build; ``contrast`` is 0 for an unenhanced scan, else about 1 (portal venous phase)."""
    return Build(
        fat_mm=float(np.clip(rng.lognormal(np.log(14.0), 0.4), 6.0, 32.0)),
        muscle_hu=float(rng.uniform(48, 62)),
        fat_hu=float(rng.uniform(-112, -96)),
        lung_hu=float(rng.uniform(-885, -815)),
        contrast=0.0 if rng.random() < 0.25 else float(rng.uniform(0.7, 1.2)),
    )


def body_wall(build: Build, rng: np.random.Generator) -> Iterator[Solid]:
    """Skin, fat, muscle and the fat-filled cavities, outermost first."""
    h = np.linspace(-20, 720, 38)

    def profile(size: tuple[NDArray[np.float64], NDArray[np.float64]], less: float = 0.0) -> NDArray[np.float64]:
        return np.stack([h, np.zeros_like(h), np.zeros_like(h), size[0] - less, size[1] - less], axis=1)

    waves = make_waves(rng, 100.0, 0.018, 2)
    inner_waves = make_waves(rng, 60.0, 0.04, 3)
    yield Column(profile(build.skin(h)), 25.0, Tissue.SUBCUTANEOUS_FAT, waves=waves)
    yield Column(profile(build.skin(h), 1.8), build.fat_hu, Tissue.SUBCUTANEOUS_FAT, waves=waves, texture=12.0)
    yield Column(profile(build.muscle(h)), build.muscle_hu, Tissue.MUSCLE, waves=inner_waves, texture=14.0)
    for tissue, low, high in (
        (Tissue.PELVIC_FAT, -50.0, 190.0),
        (Tissue.ABDOMINAL_FAT, 190.0, 420.0),
        (Tissue.MEDIASTINAL_FAT, 420.0, 800.0),
    ):
        yield Column(profile(build.cavity(h)), build.fat_hu + 4, tissue, (low, high), waves=inner_waves, texture=16.0)


def muscles(build: Build) -> Iterator[Solid]:
    """Erector spinae beside the spinous processes, psoas from the lumbar spine to the hip, buttocks."""
    heights = np.arange(100.0, 700.0, 60.0)
    bulk = np.interp(heights, [100, 250, 420, 560, 700], [20.0, 25, 20, 16, 17])
    back = build.muscle(heights)[1] - bulk - 3
    for side in (-1.0, 1.0):
        path = smooth_path([(side * (b + 10), y, -g) for b, y, g in zip(bulk, back, heights)])
        yield Tube(path, np.repeat(bulk[1:], 6), build.muscle_hu, Tissue.MUSCLE, texture=16.0)
        psoas = [(34, 40, 330), (42, 38, 260), (52, 24, 190), (82, -12, 105), (94, -14, 30)]
        path = smooth_path([(side * x, y, -g) for x, y, g in psoas])
        yield Tube(path, np.repeat([11.0, 18, 19, 17], 6), build.muscle_hu, Tissue.MUSCLE, texture=12.0)
        for centre, radii, angle in (
            ((102.0, 64.0, -105.0), (58.0, 28.0, 92.0), -0.55),
            ((112.0, 4.0, -160.0), (12.0, 42.0, 60.0), -0.5),
            ((118.0, -36.0, -45.0), (26.0, 22.0, 90.0), 0.5),
        ):
            for extra, hu, tissue in (
                (3.0, build.fat_hu, Tissue.SUBCUTANEOUS_FAT),
                (0.0, build.muscle_hu, Tissue.MUSCLE),
            ):
                size = (radii[0] + extra, radii[1] + extra, radii[2])
                yield Blob((side * centre[0], *centre[1:]), size, hu, tissue, side * angle, texture=16.0)


def skeleton(build: Build, rng: np.random.Generator) -> Iterator[Solid]:
    """Spine, ribs, sternum, shoulder blades, pelvis and femoral heads; cortex first, marrow inside."""
    density = float(rng.uniform(0.75, 1.2))
    yield from _spine(build, density, rng)
    yield from _rib_cage(build, density)
    yield from _pelvis(build, density)


def _bone(blob: Blob, density: float, cortex_mm: float = 2.2) -> Iterator[Blob]:
    inner = tuple(max(r - cortex_mm, 0.5) for r in blob.radii)
    yield blob
    yield Blob(
        blob.centre,
        (inner[0], inner[1], inner[2]),
        185.0 * density,
        Tissue.BONE,
        blob.angle,
        2.0,
        blob.waves,
        60.0,
        blob.z_range,
        blob.power,
    )


def _spine(build: Build, density: float, rng: np.random.Generator) -> Iterator[Solid]:
    h = np.array([120.0, 170, 220, 300, 420, 560, 690])
    y = np.array([70.0, 62, 38, 40, 50, 52, 42])
    width, depth = np.array([30.0, 30, 26, 24, 19, 16, 14]), np.array([14.0, 18, 19, 18, 17, 14, 12])
    lean = float(rng.uniform(-5, 5)) * np.sin((h - 100) / 190.0)
    yield Column(np.stack([h, lean, y, width - 1, depth - 1], axis=1), 85.0, Tissue.OTHER_ORGAN, (205, 720))
    yield Column(
        np.stack([h, lean, y + depth + 9, width * 0.9, h * 0 + 11], axis=1), 320 * density, Tissue.BONE, (200, 720)
    )
    yield Column(
        np.stack([h, lean, y + depth + 9, h * 0 + 10.5, h * 0 + 8.5], axis=1), 32.0, Tissue.OTHER_ORGAN, (110, 720)
    )
    pitch = 28.0
    for base in np.arange(205.0 + float(rng.uniform(-6, 6)), 700.0, pitch):
        middle = base + pitch / 2
        x0, y0, a, b = (float(np.interp(middle, h, v)) for v in (lean, y, width, depth))
        slab = (-base - pitch + _DISC_MM, -base)
        body = Blob((x0, y0, -middle), (a, b, 400.0), 430.0 * density, Tissue.BONE, 0.0, 1.6, z_range=slab, power=4)
        yield from _bone(body, density)
        back = y0 + b + 18
        spine = [(x0, back, -middle), (x0 + float(rng.uniform(-2, 2)), back + 26, -middle + 14)]
        yield Tube(np.array(spine), 4.0, 380.0 * density, Tissue.BONE)
        for side in (-1.0, 1.0):
            process = [(x0 + side * 14, y0 + b + 5, -middle), (x0 + side * 40, y0 + b + 12, -middle - 3)]
            yield Tube(np.array(process), 4.0, 360.0 * density, Tissue.BONE)


def _rib_cage(build: Build, density: float) -> Iterator[Solid]:
    for rib in range(12):
        root = _FIRST_RIB_MM - rib * _RIB_PITCH_MM
        reach = (2.5, 2.75, 2.8, 2.8, 2.8, 2.75, 2.65, 2.5, 2.3, 2.1, 1.5, 1.1)[rib]
        theta = np.linspace(0.28, reach, 17)
        h = root - (18 + 7.5 * min(rib, 8)) * (1 - np.cos(theta))
        width, depth = build.cavity(h)
        shrink = 0.62 + 0.13 * min(rib, 3) if rib < 3 else 1.0
        for side in (-1.0, 1.0):
            points = np.stack([side * (width * shrink + 5) * np.sin(theta), (depth + 3.5) * np.cos(theta), -h], axis=1)
            # The front end is cartilage, which is why it fades.
            hu = np.where(theta[1:] < 2.2, 480.0, 150.0) * density
            yield Tube(points, 5.2, hu, Tissue.BONE)
            yield Tube(points[:13], 2.9, 170.0 * density, Tissue.BONE)
    front = float(build.cavity(540.0)[1])
    yield from _bone(Blob((0.0, -front - 3.0, -535.0), (20.0, 6.5, 85.0), 360.0 * density, Tissue.BONE), density)
    wide, deep = (float(v) for v in build.cavity(600.0))
    for side in (-1.0, 1.0):
        blade = Blob(
            (side * (wide - 22), deep * 0.86, -575.0), (36.0, 4.5, 70.0), 420.0 * density, Tissue.BONE, -side * 0.6
        )
        yield from _bone(blade, density, 1.8)
        collar = [(side * 14, -deep * 0.85, -622.0), (side * 70, -deep * 0.7, -634.0), (side * 150, 5.0, -652.0)]
        yield Tube(smooth_path(collar), 6.0, 430.0 * density, Tissue.BONE)
        yield from _bone(Blob((side * 152.0, 8.0, -650.0), (22.0, 22.0, 24.0), 420.0 * density, Tissue.BONE), density)


def _pelvis(build: Build, density: float) -> Iterator[Solid]:
    hard = 450.0 * density
    yield from _bone(Blob((0.0, 66.0, -165.0), (50.0, 19.0, 60.0), hard, Tissue.BONE, power=4), density)
    for side in (-1.0, 1.0):
        wing = Blob((side * 92.0, 26.0, -152.0), (9.0, 58.0, 66.0), hard, Tissue.BONE, -side * 0.62)
        yield from _bone(wing, density)
        yield from _bone(Blob((side * 92.0, 2.0, -62.0), (33.0, 33.0, 36.0), hard, Tissue.BONE), density)
        yield Blob((side * 97.0, 2.0, -52.0), (26.0, 26.0, 27.0), 60.0, Tissue.OTHER_ORGAN)
        yield from _bone(Blob((side * 97.0, 2.0, -52.0), (23.5, 23.5, 24.5), hard, Tissue.BONE), density)
        neck = [(side * 100, 4, -46), (side * 138, 14, -26)]
        yield Tube(np.array(neck, dtype=float), 13.0, 320.0 * density, Tissue.BONE, texture=40.0)
        pubis = [(side * 82, -22, -48), (side * 45, -46, -50), (side * 8, -56, -34)]
        yield Tube(smooth_path(pubis), 7.5, 350.0 * density, Tissue.BONE, texture=40.0)
        yield from _bone(Blob((side * 68.0, 40.0, -36.0), (14.0, 18.0, 34.0), hard, Tissue.BONE), density)
