"""Soft organs of chest, abdomen and pelvis, in adult millimetres (z = -height; see ``torso``)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lesion_app.data.phantom.shapes import Blob, Tube, make_waves, smooth_path
from lesion_app.data.phantom.tissue import Tissue
from lesion_app.data.phantom.torso import Build, Column, Solid

LUNG_BASE_MM, LUNG_TOP_MM = 362.0, 655.0
_DOMES = ((-1.0, 312.0, 132.0), (1.0, 306.0, 124.0))
"""Halves of the diaphragm: (side, height of the centre, height of the dome above it) in mm; x and y from `_dome`."""


def _dome(build: Build, side: float, centre: float, height: float) -> tuple[float, float, float, float]:
    width, depth = (float(v) for v in build.cavity(400.0))
    return side * 0.47 * width, -4.0, 0.545 * width, depth - 3.0


def lung_room(build: Build, points: np.ndarray) -> np.ndarray:
    """Say which of ``points`` [n, 3] (adult mm, z = -h) lie inside a lung, with a margin of some mm; bool [n]."""
    x, y, h = points[:, 0], points[:, 1], -points[:, 2]
    width, depth = build.cavity(h)
    taper = np.interp(h, [LUNG_BASE_MM, 520, 600, LUNG_TOP_MM], [1.0, 1.0, 0.85, 0.35])
    inside = (np.square(x / (width * taper - 7)) + np.square(y / (depth * np.sqrt(taper) - 7)) < 1) & (h < LUNG_TOP_MM)
    inside &= (h > LUNG_BASE_MM) & (np.abs(x) > 24)
    for side, centre, height in _DOMES:
        x0, y0, a, b = _dome(build, side, centre, height)
        inside &= (
            np.square((x - x0) / (a + 3)) + np.square((y - y0) / (b + 3)) + np.square((h - centre) / (height + 4)) > 1
        )
    return inside


def chest(build: Build, rng: np.random.Generator) -> Iterator[Solid]:
    """Lungs, mediastinal fat, heart, oesophagus, trachea, and the diaphragm's domes filled with abdominal fat."""
    h = np.linspace(LUNG_BASE_MM, LUNG_TOP_MM, 30)
    width, depth = build.cavity(h)
    taper = np.interp(h, [LUNG_BASE_MM, 520, 600, LUNG_TOP_MM], [1.0, 1.0, 0.85, 0.35])
    zero = np.zeros_like(h)
    lung = np.stack([h, zero, zero, width * taper - 3, depth * np.sqrt(taper) - 3], axis=1)
    yield Column(
        lung, build.lung_hu, Tissue.LUNG, (LUNG_BASE_MM, LUNG_TOP_MM), 2.0, make_waves(rng, 60.0, 0.05, 3), 22.0
    )
    middle = np.interp(h, [360, 440, 500, 560, 620, 660], [46, 42, 34, 36, 40, 46])
    strip = np.stack([h, zero + 4, zero, middle, depth * np.sqrt(taper)], axis=1)
    yield Column(
        strip, build.fat_hu + 6, Tissue.MEDIASTINAL_FAT, (LUNG_BASE_MM, 720.0), 1.5, make_waves(rng, 24.0, 0.2, 3), 16.0
    )
    for side, centre, height in _DOMES:
        x0, y0, a, b = _dome(build, side, centre, height)
        shape = make_waves(rng, 60.0, 0.03, 2)
        yield Blob(
            (x0, y0, -centre), (a, b, height), build.muscle_hu, Tissue.OTHER_ORGAN, waves=shape, z_range=(-460, -356)
        )
        yield Blob(
            (x0, y0, -centre),
            (a - 2.5, b - 2.5, height - 3),
            build.fat_hu + 4,
            Tissue.ABDOMINAL_FAT,
            waves=shape,
            texture=16.0,
            z_range=(-460, -356),
        )
    blood = 42 + 95 * build.contrast
    muscle = 45 + 55 * build.contrast
    bulge = make_waves(rng, 45.0, 0.07, 2)
    yield Blob((20.0, -32.0, -470.0), (62.0, 46.0, 56.0), build.fat_hu + 8, Tissue.MEDIASTINAL_FAT, 0.5, waves=bulge)
    yield Blob((20.0, -32.0, -471.0), (58.0, 42.0, 51.0), muscle, Tissue.OTHER_ORGAN, 0.5, waves=bulge)
    yield Blob((40.0, -26.0, -462.0), (27.0, 15.0, 32.0), blood, Tissue.VESSEL, 0.6, 3.0)
    yield Blob((0.0, -45.0, -470.0), (26.0, 17.0, 36.0), blood - 8, Tissue.VESSEL, 0.4, 3.0)
    yield Blob((6.0, -4.0, -492.0), (34.0, 16.0, 26.0), blood, Tissue.VESSEL, 0.1, 3.0)
    gullet = smooth_path([(8, 30, -690), (6, 33, -600), (10, 33, -520), (16, 22, -430), (26, 5, -405)])
    yield Tube(gullet, 8.0, 42.0, Tissue.OTHER_ORGAN)
    windpipe = [(0, 4, -700), (0, 12, -600), (-1, 17, -558)]
    branches = [[(-1, 17, -560), (-26, 20, -538), (-48, 18, -515)], [(-1, 17, -560), (26, 20, -533), (50, 20, -510)]]
    for extra, value, tissue in ((2.0, 25.0, Tissue.OTHER_ORGAN), (0.0, -960.0, Tissue.AIR)):
        yield Tube(smooth_path(windpipe), 9.0 + extra, value, tissue)
        for branch in branches:
            yield Tube(smooth_path(branch), np.repeat([6.5 + extra, 4.5 + 0.7 * extra], 6), value, tissue)


def abdomen(build: Build, rng: np.random.Generator) -> Iterator[Solid]:
    """Liver, gall bladder, spleen, kidneys, adrenals, pancreas and stomach."""
    width, depth = (float(v) for v in build.cavity(360.0))
    gx, gy, enhanced = width / 124.0, depth / 90.0, build.contrast
    liver = 55 + float(rng.uniform(-12, 8)) + 52 * enhanced
    size = float(rng.uniform(0.92, 1.08))
    outline = make_waves(rng, 60.0, 0.06, 3)
    yield Blob(
        (46 * gx, -18 * gy, -388.0), (42 * gx, 40 * gy, 46.0), 45 + 30 * enhanced, Tissue.BOWEL, 0.4, waves=outline
    )
    yield Blob(
        (46 * gx, -15 * gy, -388.0),
        (37 * gx, 34 * gy, 41.0),
        float(rng.uniform(5, 35)),
        Tissue.BOWEL,
        0.4,
        texture=25.0,
    )
    yield Blob((48 * gx, -38 * gy, -388.0), (24 * gx, 12 * gy, 26.0), -930.0, Tissue.AIR)
    spleen = make_waves(rng, 35.0, 0.08, 2)
    yield Blob(
        (88 * gx, 34 * gy, -385.0),
        (25.0, 41.0, 48.0),
        50 + 68 * enhanced,
        Tissue.SPLEEN,
        -0.5,
        waves=spleen,
        texture=5.0,
    )
    for x, y, a, b, h, c, angle in (
        (-58 * gx, -2.0, 66 * gx * size, 80 * gy * size, 353.0, 90.0, 0.0),
        (0.0, -44 * gy, 62 * gx, 30 * gy, 380.0, 42.0, -0.15),
    ):
        yield Blob((x, y, -h), (a, b, c), liver, Tissue.LIVER, angle, waves=outline, texture=6.0, power=2)
    yield Blob(
        (-46 * gx, -40 * gy, -306.0), (14.0, 17.0, 24.0), 8.0, Tissue.OTHER_ORGAN, 0.3, waves=make_waves(rng, 15, 0.1)
    )
    for side, lift in ((-1.0, 0.0), (1.0, 12.0)):
        x, y, h = side * 62 * gx, 42 * gy, 296 + lift + float(rng.uniform(-10, 10))
        shape = make_waves(rng, 30.0, 0.05, 2)
        yield Blob(
            (x, y, -h), (27.0, 31.0, 54.0), 32 + 140 * enhanced, Tissue.KIDNEY, side * 0.5, waves=shape, texture=6.0
        )
        yield Blob((x, y, -h), (18.0, 20.0, 42.0), 32 + 105 * enhanced, Tissue.KIDNEY, side * 0.5, 4.0, shape, 8.0)
        yield Blob((x - side * 10, y - 6, -h), (13.0, 9.0, 24.0), -70.0, Tissue.OTHER_ORGAN, side * 0.5, 3.0, shape)
        gland = [(side * 34, 26, -h - 52), (side * 40, 38, -h - 58)]
        yield Tube(np.array(gland), 3.2, 45 + 30 * enhanced, Tissue.OTHER_ORGAN)
    pancreas = smooth_path([(-30, -4, -305), (-12, -14, -322), (25, -6, -338), (68, 14, -362)])
    yield Tube(pancreas, np.repeat([13.0, 10, 9], 6), 42 + 50 * enhanced, Tissue.OTHER_ORGAN, 3.0, 10.0)


def bowel(build: Build, rng: np.random.Generator) -> Iterator[Solid]:
    """Small bowel as wandering loops, colon along the flanks; walls first, contents inside."""
    width, depth = (float(v) for v in build.cavity(250.0))
    wall = 42 + 35 * build.contrast
    for _ in range(15):
        start = rng.uniform([-0.62 * width, -0.72 * depth, -310], [0.62 * width, 0.05 * depth, -85])
        steps = rng.normal(0, [26, 16, 24], size=(9, 3))
        loop = np.clip(
            start + np.cumsum(steps, axis=0), [-0.66 * width, -0.76 * depth, -318], [0.66 * width, 0.14 * depth, -70]
        )
        path, radius = smooth_path(loop.tolist(), 5), float(rng.uniform(8, 12.5))
        yield Tube(path, radius, wall, Tissue.BOWEL, 2.0)
        filling = rng.choice([18.0, 30.0, 60.0, 240.0 if rng.random() < 0.4 else 25.0], size=len(path) - 1)
        yield Tube(path, radius - 2.6, filling, Tissue.BOWEL, 2.0, 20.0)
    colon = [(-0.78 * width, 14, -170), (-0.8 * width, 8, -300), (-0.5 * width, -0.72 * depth, -300)]
    colon += [(0.1 * width, -0.78 * depth, -275), (0.62 * width, -0.6 * depth, -330), (0.82 * width, 18, -330)]
    colon += [(0.82 * width, 20, -200), (0.5 * width, 6, -140), (8, 8, -150), (0, 38, -120), (0, 44, -20)]
    path = smooth_path(colon, 8)
    girth = np.repeat(rng.uniform(13, 20, len(colon) - 1), 8) * rng.uniform(0.86, 1.1, len(path) - 1)
    stool = np.repeat(rng.choice([-880.0, -40.0, 30.0, 25.0, -500.0], size=len(path) // 2 + 1), 2)[: len(path) - 1]
    yield Tube(path, girth, wall, Tissue.BOWEL, 2.0)
    yield Tube(path, girth - 3.0, stool, Tissue.BOWEL, 3.0, 60.0)


def pelvis(build: Build, rng: np.random.Generator) -> Iterator[Solid]:
    """Bladder, and a uterus or a prostate with seminal vesicles."""
    full = float(rng.uniform(0.7, 1.15))
    walls = make_waves(rng, 30.0, 0.08, 2)
    if rng.random() < 0.5:
        yield Blob(
            (float(rng.uniform(-8, 8)), 4.0, -92.0),
            (30.0, 22.0, 30.0),
            48 + 45 * build.contrast,
            Tissue.OTHER_ORGAN,
            waves=walls,
        )
    else:
        yield Blob((0.0, -6.0, -36.0), (23.0, 18.0, 18.0), 42 + 20 * build.contrast, Tissue.OTHER_ORGAN, waves=walls)
        for side in (-1.0, 1.0):
            yield Blob((side * 15.0, 8.0, -58.0), (15.0, 6.0, 9.0), 35.0, Tissue.OTHER_ORGAN, side * 0.2)
    centre = (0.0, -34.0, -72.0)
    yield Blob(centre, (40 * full, 27 * full, 34 * full), 42.0, Tissue.OTHER_ORGAN, waves=walls)
    yield Blob(centre, (37 * full, 24 * full, 31 * full), 6.0, Tissue.OTHER_ORGAN, waves=walls)
