"""Where in a CT a made-up lesion may lie: tissue classes become the hosts of the phantom's lesion types."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesion_app.data.phantom.lesions import TissueMap
from lesion_app.data.phantom.tissue import Tissue
from transforms.tissue_map import TissueClass

_PLACE_MM = 2.5  # grid on which places are looked for
_CHEST_SHARE = 0.25  # of a slice of the body that is lung
_ORGAN_MM = 9.0  # half of the thickness from which soft tissue is an organ and no muscle or bowel wall
_SKIN_MM, _WALL_CLOSING_MM = 6.0, 8.0

CLASS_OF_HOST: dict[Tissue, TissueClass] = {
    Tissue.LUNG: TissueClass.LUNG,
    Tissue.BONE: TissueClass.BONE,
    Tissue.SUBCUTANEOUS_FAT: TissueClass.FAT,
    Tissue.ABDOMINAL_FAT: TissueClass.FAT,
    Tissue.MEDIASTINAL_FAT: TissueClass.FAT,
    Tissue.MUSCLE: TissueClass.SOFT,
    Tissue.SPLEEN: TissueClass.SOFT,
}
"""Class of the voxels that a host consists of."""


def chest_from(classes: NDArray[np.uint8]) -> int:
    """Number of the lowest slice of [Z, H, W] `TissueClass` a quarter of whose body is lung; Z where there is none."""
    body = (classes != TissueClass.OUTSIDE).sum(axis=(1, 2))
    chest = np.flatnonzero((classes == TissueClass.LUNG).sum(axis=(1, 2)) > _CHEST_SHARE * np.maximum(body, 1))
    return int(chest[0]) if len(chest) else len(classes)


def map_hosts(
    classes: NDArray[np.uint8], spacing_mm: tuple[float, float, float], chest: int | None = None
) -> TissueMap:
    """Hosts for the phantom's lesion types 1, 2, 3, 5 and 7 (bone, abdomen, mediastinum, lung, soft tissue).

    Thick soft tissue below the lungs is an abdominal organ (SPLEEN stands for any); in the chest it is heart and great
    vessels and no host. Which organ it is cannot be told from HU, so that there are no liver or kidney lesions. Fat
    within the wall of muscle and bone is mediastinal or abdominal, the rest subcutaneous.

    Args:
        classes: [Z, H, W] of `TissueClass`, slices from inferior to superior.
        spacing_mm: (x, y, z).
        chest: number of the first slice of chest; what lies above (neck, shoulders) is no abdomen. None finds it.

    Returns:
        Map on a coarser grid in mm: x and y count from the middle of the slices, z from the first slice. First and
        last slice are left out where there are more than three, and the border of the images is no host.
    """
    count, height, width = classes.shape
    dx, dy, dz = spacing_mm
    sx, sy = max(1, round(_PLACE_MM / dx)), max(1, round(_PLACE_MM / dy))
    coarse = classes[:, sy // 2 :: sy, sx // 2 :: sx]
    step = (dz, dy * sy, dx * sx)
    solid = np.isin(coarse, (TissueClass.SOFT, TissueClass.VESSEL))
    thin = ndimage.distance_transform_edt(solid, sampling=step) < _ORGAN_MM
    organ = solid & (ndimage.distance_transform_edt(thin, sampling=step) < _ORGAN_MM)
    above = (np.arange(count) >= (chest_from(coarse) if chest is None else chest))[:, None, None]
    within = _within_wall(coarse, step)
    fat, soft = coarse == TissueClass.FAT, coarse == TissueClass.SOFT
    hosts = np.full(coarse.shape, Tissue.AIR, dtype=np.uint8)
    hosts[coarse == TissueClass.BONE] = Tissue.BONE
    hosts[coarse == TissueClass.LUNG] = Tissue.LUNG
    hosts[coarse == TissueClass.VESSEL] = Tissue.VESSEL
    hosts[soft & ~organ] = Tissue.MUSCLE
    hosts[soft & organ & above] = Tissue.OTHER_ORGAN
    hosts[soft & organ & ~above] = Tissue.SPLEEN
    hosts[fat & ~within] = Tissue.SUBCUTANEOUS_FAT
    hosts[fat & within & above] = Tissue.MEDIASTINAL_FAT
    hosts[fat & within & ~above] = Tissue.ABDOMINAL_FAT
    hosts[:, [0, -1]] = hosts[:, :, [0, -1]] = Tissue.AIR
    inner = slice(1, -1) if count > 3 else slice(None)
    y = (np.arange(coarse.shape[1]) * sy + sy // 2 - (height - 1) / 2) * dy
    x = (np.arange(coarse.shape[2]) * sx + sx // 2 - (width - 1) / 2) * dx
    z = np.arange(count, dtype=np.float64) * dz
    return TissueMap(hosts[inner], z[inner], y.astype(np.float64), x.astype(np.float64))


def _within_wall(coarse: NDArray[np.uint8], step: tuple[float, float, float]) -> NDArray[np.bool_]:
    """What the ring of muscle and bone encloses on each slice, the ring included."""
    deep = np.stack([ndimage.distance_transform_edt(s != TissueClass.OUTSIDE, sampling=step[1:]) for s in coarse])
    firm = ~np.isin(coarse, (TissueClass.OUTSIDE, TissueClass.FAT)) & (deep > _SKIN_MM)
    reach = max(1, round(_WALL_CLOSING_MM / step[1]))
    disk = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), reach)
    return np.stack([ndimage.binary_fill_holes(ndimage.binary_closing(s, disk)) for s in firm])
