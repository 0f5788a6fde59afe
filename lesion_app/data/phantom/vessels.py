"""Vessels: round in one slice like a nodule or a node, but running on through the volume (z = -height, adult mm)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesion_app.data.phantom.organs import lung_room
from lesion_app.data.phantom.shapes import Path, Tube, smooth_path
from lesion_app.data.phantom.tissue import Tissue
from lesion_app.data.phantom.torso import Build

Room = Callable[[NDArray[np.float64]], NDArray[np.bool_]]

_STEP_MM, _FORK_CHANCE = 11.0, 0.48


def great_vessels(build: Build, rng: np.random.Generator) -> Iterator[Tube]:
    """Aorta with iliac and renal branches, venae cavae, pulmonary arteries, portal and mesenteric stems."""
    artery, vein = 42 + 115 * build.contrast, 40 + 90 * build.contrast
    bend = float(rng.uniform(-4, 4))

    def tube(control: Path, radii: Sequence[float] | float, hu: float) -> Tube:
        radius = np.repeat(np.broadcast_to(radii, len(control) - 1).astype(float), 6)
        return Tube(smooth_path(control), radius * wide, hu, Tissue.VESSEL)

    wide = float(rng.uniform(0.9, 1.15))
    cava = [(-22, 4, -425), (-23, 10, -340), (-20 + bend, 14, -222)]
    yield tube(cava, [12.5, 11.0], vein)
    yield tube([(-30, -22, -505), (-30, -26, -570), (-22, -30, -625), (-34, -22, -690)], [9.0, 9.0, 7.0], vein)
    yield tube([(-22, -30, -618), (5, -42, -612), (34, -26, -650)], [6.0, 5.5], vein)
    yield tube([(14, -32, -500), (14, -30, -528), (22, -12, -545), (52, 8, -538)], [14.0, 12.5, 9.0], vein + 12)
    yield tube([(14, -18, -537), (-18, -4, -535), (-54, 6, -526)], [11.0, 9.5], vein + 12)
    aorta: list[tuple[float, float, float]] = [
        (0, -24, -500),
        (-14, -28, -545),
        (-8, -18, -586),
        (10, 4, -594),
        (22, 24, -565),
        (22, 26, -470),
    ]
    aorta += [(12 + bend, 20, -380), (4 + bend, 17, -290), (2 + bend, 13, -215)]
    yield tube(aorta, [15.0, 14.5, 13.5, 12.5, 12.0, 11.0, 9.5, 8.5], artery)
    for x, top in ((-16, -668), (4, -672), (26, -674)):
        yield tube([(x * 0.4, -2, -594), (x, -8, -630), (x * 1.5, -2, top)], 4.5, artery)
    for side in (-1.0, 1.0):
        leg = [
            (side * 2, 13, -218),
            (side * 24, 16, -180),
            (side * 50, 2, -130),
            (side * 62, -32, -70),
            (side * 72, -62, 0),
        ]
        yield tube(leg, [6.0, 5.5, 4.8, 4.5], artery)
        follow = [(-12, 15, -225)] + [(x + side * 3 - 6, y + 9, z) for x, y, z in leg[1:]]
        yield tube(follow, [7.0, 6.0, 5.5, 5.0], vein)
        inner = [(side * 34, 14, -165), (side * 44, 38, -130), (side * 50, 44, -70)]
        yield tube(inner, [3.5, 2.8], artery)
        yield tube([(side * 8, 18, -318), (side * 32, 30, -308), (side * 52, 38, -302)], [3.6, 2.8], artery)
        yield tube([(side * 14 - 8, 8, -314), (side * 36, 24, -304), (side * 54, 34, -298)], 4.4, vein)
    yield tube([(60, 22, -372), (20, -4, -336), (-10, -12, -326), (-34, -10, -352)], [4.5, 6.0, 6.8], vein)
    yield tube([(-10, -12, -326), (-6, -20, -280), (8, -24, -210)], [5.5, 4.2], vein)
    yield tube([(3, 8, -340), (3, -12, -315), (14, -22, -215)], [4.0, 3.2], artery)


def branching(
    root: ArrayLike,
    direction: ArrayLike,
    radius_mm: float,
    room: Room,
    rng: np.random.Generator,
    *,
    smallest_mm: float,
    most: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Grow a vessel tree from ``root``, generation by generation, while it stays inside ``room``.

    Returns:
        Segment ends [2 n, 3] in pairs (adult mm) and radii [n] mm; n may be 0 and ends about at ``most``.
    """
    position = np.asarray(root, dtype=np.float64)[None]
    heading, radius = _unit(np.asarray(direction, dtype=np.float64)[None]), np.array([radius_mm])
    pairs, radii = [np.zeros((0, 2, 3))], [np.zeros(0)]
    while len(radius) and sum(map(len, radii)) < most:
        count = len(radius)
        heading = _unit(heading + rng.normal(0, 0.28, (count, 3)))
        end = position + heading * (_STEP_MM * rng.uniform(0.7, 1.3, (count, 1)))
        forks, aside, share = (
            rng.random(count) < _FORK_CHANCE,
            rng.normal(0, 1, (count, 3)),
            rng.uniform(0.55, 0.85, count),
        )
        inside = room(end)
        pairs.append(np.stack([position, end], axis=1)[inside])
        radii.append(radius[inside])
        aside = _unit(aside - heading * (aside * heading).sum(axis=1, keepdims=True))
        trunk = np.where(forks[:, None], heading + 0.45 * aside, heading)
        both = np.concatenate([inside, inside & forks])
        position = np.concatenate([end, end])[both]
        heading = _unit(np.concatenate([trunk, heading - 0.8 * aside])[both])
        radius = np.concatenate([radius * np.where(forks, 0.86, 0.955), radius * share])[both]
        large = radius > smallest_mm
        position, heading, radius = position[large], heading[large], radius[large]
    return np.concatenate(pairs).reshape(-1, 3), np.concatenate(radii)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def lung_vessels(build: Build, rng: np.random.Generator) -> Iterator[Tube]:
    """Arteries and veins from each hilum to the periphery of its lung."""
    for side in (-1.0, 1.0):
        for spread in (
            (0.9, 0.0, 0.9),
            (0.9, 0.4, -0.2),
            (0.8, -0.8, 0.2),
            (0.7, 0.7, 0.8),
            (0.6, 0.1, -1.0),
            (0.8, -0.5, 0.8),
        ):
            root = (side * 46.0, 8.0 + 6 * spread[1], -525.0 + 14 * spread[2])
            heading = (side * spread[0], spread[1], spread[2])
            points, radii = branching(root, heading, 5.2, lambda p: lung_room(build, p), rng, most=240, smallest_mm=0.7)
            if len(radii):
                yield Tube(points, radii, 40 + 40 * build.contrast, Tissue.VESSEL, 1.0, connected=False)


def organ_vessels(build: Build, rng: np.random.Generator) -> Iterator[Tube]:
    """Portal and hepatic branches in the liver, mesenteric branches in the abdominal fat, small pelvic vessels."""
    width, depth = (float(v) for v in build.cavity(360.0))
    gx, gy = width / 124.0, depth / 90.0

    def in_liver(p: NDArray[np.float64]) -> NDArray[np.bool_]:
        q = (p - np.array([-58 * gx, -2.0, -352.0])) / np.array([60 * gx, 73 * gy, 76.0])
        return (q**2).sum(axis=1) < 1

    def in_mesentery(p: NDArray[np.float64]) -> NDArray[np.bool_]:
        return (
            (np.abs(p[:, 0]) < 0.68 * width)
            & (p[:, 1] > -0.8 * depth)
            & (p[:, 1] < 22)
            & (p[:, 2] < -95)
            & (p[:, 2] > -335)
        )

    def in_pelvis(p: NDArray[np.float64]) -> NDArray[np.bool_]:
        return (np.abs(p[:, 0]) < 72) & (np.abs(p[:, 1]) < 52) & (p[:, 2] > -185) & (p[:, 2] < 0)

    bright = 55 + 105 * build.contrast
    for root, heading, radius in (
        ((-34 * gx, -8.0, -352.0), (-1.0, 0.1, -0.3), 5.5),
        ((-34 * gx, -8.0, -352.0), (-0.7, 0.4, 0.8), 5.0),
        ((-30 * gx, 2.0, -415.0), (-0.8, -0.3, 0.8), 4.5),
        ((-30 * gx, 2.0, -415.0), (-0.8, 0.6, 0.6), 4.5),
    ):
        points, radii = branching(root, heading, radius, in_liver, rng, most=60, smallest_mm=1.2)
        if len(radii):
            yield Tube(points, radii, bright, Tissue.VESSEL, 2.0, connected=False)
    for _ in range(7):
        aim = rng.normal([0, -0.5, 0.9], [0.9, 0.5, 0.6])
        points, radii = branching((4.0, -14.0, -300.0), aim, 3.2, in_mesentery, rng, most=70, smallest_mm=0.9)
        if len(radii):
            yield Tube(points, radii, 40 + 70 * build.contrast, Tissue.VESSEL, 1.2, connected=False)
    for side in (-1.0, 1.0):
        for _ in range(3):
            aim = rng.normal([-side * 0.3, 0.0, 0.8], 0.6)
            points, radii = branching((side * 46.0, 36.0, -125.0), aim, 2.6, in_pelvis, rng, most=40, smallest_mm=0.9)
            if len(radii):
                yield Tube(points, radii, 40 + 60 * build.contrast, Tissue.VESSEL, 1.2, connected=False)
