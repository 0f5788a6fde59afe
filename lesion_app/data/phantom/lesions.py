"""Lesions of DeepLesion's eight types: how many, how large, where, and what they look like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from lesion_app.data.missing_labels import LESION_COUNTS
from lesion_app.data.phantom.shapes import Blob, Tube, make_waves
from lesion_app.data.phantom.site import Site
from lesion_app.data.phantom.tissue import Tissue

# Labels of the official test split by type 1..8 (bone, abdomen, mediastinum, liver, lung, kidney, soft tissue, pelvis;
# DL_info.csv, column Coarse_lesion_type), over the share of sub-volumes of the phantom that hold a host for the type.
_TYPE_WEIGHTS = np.array([108, 1173, 864, 700, 1100, 234, 339, 409]) / [1.0, 0.5, 0.5, 0.4, 0.55, 0.3, 1.0, 0.25]
_HOSTS: dict[int, tuple[Tissue, ...]] = {
    1: (Tissue.BONE,),
    2: (Tissue.ABDOMINAL_FAT, Tissue.SPLEEN),
    3: (Tissue.MEDIASTINAL_FAT,),
    4: (Tissue.LIVER,),
    5: (Tissue.LUNG,),
    6: (Tissue.KIDNEY,),
    7: (Tissue.MUSCLE, Tissue.SUBCUTANEOUS_FAT),
    8: (Tissue.PELVIC_FAT,),
}
# Free depth a lesion needs in its host, relative to its short radius: renal and bony lesions bulge out, pulmonary
# ones may touch the pleura, hepatic ones mostly lie inside.
_DEPTH = {1: 0.35, 2: 0.55, 3: 0.45, 4: 0.7, 5: 0.3, 6: 0.3, 7: 0.6, 8: 0.5}

# Log-normal long axis (mm) and short / long ratio BEFORE labels go missing, set such that the rows of the phantom's
# DL_info.csv have the sizes of the real one: long axis 5.4 / 19.0 / 64.7 mm, short axis 4.1 / 13.2 / 46.3 mm at 5 / 50
# / 95 % of the 4,927 rows of the official test split. Labels favour large lesions, so the complete set is smaller.
_LONG_MM_MEDIAN, _LONG_MM_SIGMA = 15.0, 0.74
_RATIO_MEDIAN, _RATIO_SIGMA = 0.71, 0.22
_SMALLEST_MM = 4.2
_SAME_TYPE_CHANCE = 0.5  # several lesions of one patient tend to be metastases of one kind
_GAP_MM = 5.0
_TRIALS = 8  # places tried for a lesion of one type, where not every place will do

Point = tuple[float, float, float]
HostHU = Callable[[Tissue, Point], float]
"""(tissue, (x, y, z) in mm) -> HU of that tissue around that place."""


@dataclass(frozen=True)
class Lesion:
    """A lesion to paint: its type 1..8, the solid that defines its outline, and solids painted before and after."""

    type: int
    body: Blob
    before: tuple[Tube, ...] = ()
    after: tuple[Blob, ...] = ()


@dataclass(frozen=True)
class TissueMap:
    """Coarse map of a patient's tissues: ``tissues`` [z, y, x] at the given coordinates (mm, uniform)."""

    tissues: NDArray[np.uint8]
    z: NDArray[np.float64]
    y: NDArray[np.float64]
    x: NDArray[np.float64]

    def depth_mm(self, tissue: Tissue) -> NDArray[np.float64]:
        """Distance of every voxel of ``tissue`` to the nearest other voxel in mm, [z, y, x]; 0 elsewhere."""
        mask = self.tissues == tissue
        steps = [float(axis[1] - axis[0]) if len(axis) > 1 else 1e6 for axis in (self.z, self.y, self.x)]
        return distance_transform_edt(mask, sampling=steps) if mask.any() else np.zeros(mask.shape)


def draw_lesions(
    rng: np.random.Generator,
    tissues: TissueMap,
    host_hu: HostHU,
    contrast: float,
    thickness_mm: float,
    count_range: tuple[int, int] | None,
    conspicuity_hu: float = 0.0,
    accept: Callable[[Lesion], bool] | None = None,
    site: Site | None = None,
    smallest_mm: float = 0.0,
) -> list[Lesion]:
    """Draw the lesions of one sub-volume; at least one, fewer than drawn when there is no room.

    Args:
        tissues: where things are; lesions are centred between its first and last z.
        host_hu: HU of a tissue around a place.
        contrast: enhancement of the patient, 0 = none.
        thickness_mm: slice thickness.
        count_range: fewest and most lesions, uniformly; None = DeepLesion's `LESION_COUNTS`.
        conspicuity_hu: added to every lesion's contrast with its host, 0 = plausible lesions.
        accept: says whether a lesion will do where it lies; each is tried in a few places. None takes all.
        site: which types prevail; None = DeepLesion's mixture.
        smallest_mm: no lesion's long axis is shorter; 0 = DeepLesion's sizes.

    Returns:
        Lesions that keep a gap of some mm to one another (patient mm).

    Raises:
        RuntimeError: when not even one lesion fits (an empty body).
    """
    if count_range is None:
        counts, volumes = np.array(list(LESION_COUNTS)), np.array(list(LESION_COUNTS.values()), dtype=float)
        wanted = int(rng.choice(counts, p=volumes / volumes.sum()))
    else:
        wanted = int(rng.integers(count_range[0], count_range[1] + 1))
    depths: dict[Tissue, NDArray[np.float64]] = {}
    lesions: list[Lesion] = []

    def dress(kind: int, host: Tissue, centre: Point, radii: Point) -> Lesion:
        around = host_hu(host, centre)
        return _dress(rng, kind, host, centre, radii, around, contrast, thickness_mm, conspicuity_hu)

    for _ in range(wanted):
        for kind in _type_order(rng, lesions[-1].type if lesions else None, site):
            lesion = _fitting(rng, int(kind), tissues, depths, lesions, accept, dress, smallest_mm)
            if lesion is not None:
                lesions.append(lesion)
                break
    if not lesions:
        raise RuntimeError("no lesion fits into the body")
    return lesions


def _type_order(rng: np.random.Generator, previous: int | None, site: Site | None) -> list[int]:
    weights = _TYPE_WEIGHTS if site is None else site.weighted(_TYPE_WEIGHTS)
    order = rng.choice(np.arange(1, 9), size=8, replace=False, p=weights / weights.sum()).tolist()
    if previous is not None and rng.random() < _SAME_TYPE_CHANCE:
        order.remove(previous)
        order.insert(0, previous)
    return order


def _fitting(
    rng: np.random.Generator,
    kind: int,
    tissues: TissueMap,
    depths: dict[Tissue, NDArray[np.float64]],
    others: list[Lesion],
    accept: Callable[[Lesion], bool] | None,
    dress: Callable[[int, Tissue, Point, Point], Lesion],
    smallest_mm: float,
) -> Lesion | None:
    """A lesion of this type that is accepted where it lies; None when there is no room or none will do."""
    size = _draw_size(rng)
    while size[0] < smallest_mm:
        size = _draw_size(rng)
    for _ in range(_TRIALS):
        placed = _place(rng, kind, size, tissues, depths, others, max(smallest_mm, _SMALLEST_MM))
        if placed is None:
            return None
        lesion = dress(kind, *placed)
        if accept is None or accept(lesion):
            return lesion
    return None


def _draw_size(rng: np.random.Generator) -> Point:
    """Long axis in mm, short / long ratio, and extent along z relative to their geometric mean."""
    long = max(_SMALLEST_MM, float(rng.lognormal(np.log(_LONG_MM_MEDIAN), _LONG_MM_SIGMA)))
    ratio = float(np.clip(rng.lognormal(np.log(_RATIO_MEDIAN), _RATIO_SIGMA), 0.35, 0.98))
    return long, ratio, float(rng.uniform(0.75, 1.15))


def _place(
    rng: np.random.Generator,
    kind: int,
    wanted: Point,
    tissues: TissueMap,
    depths: dict[Tissue, NDArray[np.float64]],
    others: list[Lesion],
    smallest_mm: float,
) -> tuple[Tissue, Point, Point] | None:
    """Find a host tissue, centre and semi-axes (mm); None when there is no room for this type."""
    long, ratio, stretch = wanted
    for host in rng.permutation(np.array(_HOSTS[kind])):
        tissue = Tissue(int(host))
        if tissue not in depths:
            depths[tissue] = tissues.depth_mm(tissue)
        deepest = float(depths[tissue].max())
        if deepest <= 0:
            continue
        size = min(long, 2 * deepest / (_DEPTH[kind] * ratio))
        for _ in range(4):
            if size < smallest_mm:
                break
            radii = (size / 2, max(size * ratio, 3.0) / 2, max(stretch * size * np.sqrt(ratio), 3.0) / 2)
            places = np.argwhere(depths[tissue] >= _DEPTH[kind] * radii[1])
            for place in places[rng.integers(0, len(places), 12)] if len(places) else ():
                centre = _jitter(rng, tissues, place)
                if all(_apart(centre, radii[0], other.body) for other in others):
                    return tissue, centre, radii
            size *= 0.7
    return None


def _jitter(rng: np.random.Generator, tissues: TissueMap, place: NDArray[np.intp]) -> Point:
    offset = rng.uniform(-0.4, 0.4, 3)
    centre = []
    for axis, index, shift in zip((tissues.z, tissues.y, tissues.x), place, offset):
        step = float(axis[1] - axis[0]) if len(axis) > 1 else 0.0
        centre.append(float(np.clip(axis[index] + shift * step, axis[0], axis[-1])))
    return centre[2], centre[1], centre[0]


def _apart(centre: Point, radius: float, other: Blob) -> bool:
    return float(np.linalg.norm(np.subtract(centre, other.centre))) > radius + other.radii[0] + _GAP_MM


def _dress(
    rng: np.random.Generator,
    kind: int,
    host: Tissue,
    centre: Point,
    radii: Point,
    host_hu: float,
    contrast: float,
    thickness_mm: float,
    conspicuity_hu: float,
) -> Lesion:
    """Give a placed lesion its attenuation, margin, outline and, by type, spicules or a necrotic centre."""
    hu, edge = _appearance(rng, kind, host, host_hu, contrast, 2 * radii[1])
    hu += conspicuity_hu if hu >= host_hu else -conspicuity_hu
    edge = min(edge, 0.8 * radii[1])
    strength = float(rng.uniform(0.08, 0.22))
    layer = min(1.0, thickness_mm)
    angle = float(rng.uniform(0, np.pi))
    waves = make_waves(rng, float(np.sqrt(radii[0] * radii[1])), strength, 2)
    texture = float(rng.uniform(2.0, 9.0))
    body = Blob(centre, radii, hu, host, angle, edge, waves, texture, layer_mm=layer)
    before: tuple[Tube, ...] = ()
    after: tuple[Blob, ...] = ()
    if kind == 5 and hu > -200 and rng.random() < 0.4:
        before = tuple(_spicules(rng, body))
    elif kind != 5 and radii[1] > 7 and rng.random() < 0.3:
        core = (radii[0] * 0.55, radii[1] * 0.55, radii[2] * 0.55)
        shift = rng.uniform(-0.15, 0.15, 3) * radii
        place = (centre[0] + float(shift[0]), centre[1] + float(shift[1]), centre[2] + float(shift[2]))
        necrotic = max(hu - float(rng.uniform(15, 40)), 8.0) if hu > 20 else hu
        after = (Blob(place, core, necrotic, host, angle, 3.0, waves * 0.5, texture, layer_mm=layer),)
    return Lesion(kind, body, before, after)


def _appearance(
    rng: np.random.Generator, kind: int, host: Tissue, host_hu: float, contrast: float, short_mm: float
) -> tuple[float, float]:
    """HU and width of the margin (mm) of a lesion."""
    # A reader needs more contrast to pick a small lesion out of the noise of a solid organ.
    small = 20.0 * float(np.clip((14.0 - short_mm) / 8.0, 0, 1))
    chance = rng.random()
    low, high = float(rng.uniform()), float(rng.uniform())
    if kind == 1:
        return (40 + 45 * low, 2.5) if chance < 0.6 else (480 + 350 * low, 2.5)
    if kind == 5:
        return (-620 + 270 * low, 4.0) if chance < 0.15 else (5 + 60 * low, 1.2 + 1.3 * high)
    if kind == 4:
        drop = (14 + 18 * low) + contrast * (18 + 32 * low)
        return (host_hu - drop - small, 2.0 + 2.5 * high) if chance < 0.82 else (host_hu + 22 + 35 * low + small, 2.5)
    if kind == 6:
        return (2 + 16 * low, 1.5) if chance < 0.55 else (38 + 55 * contrast * (0.4 + 0.6 * low), 2.5)
    if host in (Tissue.SPLEEN, Tissue.MUSCLE):
        return (host_hu - 26 - 24 * low - small, 2.5) if chance < 0.6 else (host_hu + 26 + 36 * low + small, 2.5)
    solid = 28 + 28 * low + contrast * 45 * high
    return (5 + 15 * low, 1.5) if chance < 0.08 else (solid, 1.3 + 2.0 * high)


def _spicules(rng: np.random.Generator, body: Blob) -> list[Tube]:
    count = int(rng.integers(4, 9))
    heading = rng.normal(size=(count, 3)) * np.array([1.0, 1.0, 0.6])
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    reach = (body.radii[1] * rng.uniform(1.15, 1.6, count) + 1.5)[:, None]
    start = np.asarray(body.centre)
    return [Tube(np.stack([start, start + tip]), 0.7, body.hu - 60, body.tissue, 1.2) for tip in heading * reach]
