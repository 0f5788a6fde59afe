"""Rough tissue classes of a CT from HU and connectivity."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

Mask = NDArray[np.bool_]
_AIR_HU, _FAT_HU, _SOFT_HU, _DENSE_HU, _CORTICAL_HU = -400.0, -190.0, -25.0, 160.0, 330.0
_CLEAR_AIR_HU = -945.0  # lung, even emphysema, lies above in the median; room air and gas lie below
_STOOL_HU, _CORE_SHARE = -620.0, 0.1
_LUNG_MM3, _BONE_MM3 = 3e4, 150.0
_LUNG_CLOSING_MM, _MARROW_MM, _TABLE_MM = 4.0, 5.0, 3.0
_SMOOTHING_MM, _PIXEL_MM = 0.8, 1.3
_SMALL_PART, _CUT_OUT_SHARE = 0.03, 0.35


class TissueClass(IntEnum):
    """What a voxel is made of, as far as HU and connectivity tell."""

    OUTSIDE = 0
    GAS = 1
    LUNG = 2
    FAT = 3
    SOFT = 4
    VESSEL = 5
    BONE = 6


class MapTissues(Transform):
    """Class of every voxel: air around the patient, gas, lung, fat, soft tissue, enhanced vessel, bone.

    Good enough to choose a place for a made-up lesion, not to measure anything: LUNG includes its vessels, BONE its
    marrow, VESSEL is all that is bright without being bone (enhanced blood, kidney, contrast agent in the bowel), FAT
    includes voxels between air and soft tissue. The table and the patient's clothes are OUTSIDE. Stool may pass for
    soft tissue, an artery that touches the spine in an early phase for bone.

    A cube cut out of a body is known by the tissue at its border; lung may then touch the border, while clear air that
    does (a cut bronchus) is OUTSIDE.
    """

    def __call__(self, volume: Tensor | NDArray[Any], spacing_mm: Sequence[float]) -> Tensor:  # type: ignore[override]
        """Map a volume.

        Args:
            volume: [Z, H, W] HU of any number type.
            spacing_mm: (x, y, z).

        Returns:
            uint8 [Z, H, W] of `TissueClass`.
        """
        hu = np.asarray(volume, dtype=np.float32)
        x, y, z = (float(v) for v in spacing_mm)
        # Some smoothing takes the edge off the noise without moving borders; then finer pixels tell no more.
        smooth = ndimage.gaussian_filter(hu, [0.0, _SMOOTHING_MM / y, _SMOOTHING_MM / x])
        ny, nx = max(1, round(_PIXEL_MM / y)), max(1, round(_PIXEL_MM / x))
        coarse = self._map(smooth[:, ny // 2 :: ny, nx // 2 :: nx], (z, y * ny, x * nx))
        rows, columns = (
            np.minimum(np.arange(n) // k, m - 1) for n, k, m in zip(hu.shape[1:], (ny, nx), coarse.shape[1:])
        )
        return torch.from_numpy(coarse[:, rows[:, None], columns])

    def _map(self, smooth: NDArray[np.float32], step: tuple[float, float, float]) -> NDArray[np.uint8]:
        body = _body(smooth, step)
        air = body & (smooth < _AIR_HU)
        lung = _lung(smooth, air, step)
        bone, bright = _bone(smooth, body & ~lung, step)
        classes = np.full(smooth.shape, TissueClass.OUTSIDE, dtype=np.uint8)
        classes[body] = TissueClass.SOFT
        classes[body & (smooth < _SOFT_HU)] = TissueClass.FAT
        classes[air] = TissueClass.GAS
        classes[bright] = TissueClass.VESSEL
        classes[lung] = TissueClass.LUNG
        classes[bone] = TissueClass.BONE
        return classes


class MapTissuesd(MapTransform):
    """Dictionary form of `MapTissues`.

    Reads ``item[key]`` [Z, H, W] HU and ``item[spacing_key]`` (x, y, z) mm; writes ``item[tissue_key]``.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        spacing_key: str = "spacing_mm",
        tissue_key: str = "tissues",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mapper = MapTissues()
        self.spacing_key = spacing_key
        self.tissue_key = tissue_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[self.tissue_key] = self.mapper(item[key], item[self.spacing_key])
        return item


def _disk(radius_mm: float, step: tuple[float, float, float]) -> Mask:
    """Structuring element [1, h, w] of a disk in plane; slices are too far apart for a ball."""
    ry, rx = (round(radius_mm / side) for side in step[1:])
    y, x = np.mgrid[-ry : ry + 1, -rx : rx + 1]
    return ((y / max(ry, 1)) ** 2 + (x / max(rx, 1)) ** 2 <= 1.0)[None]


def _largest(mask: Mask) -> Mask:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def _body(hu: NDArray[np.float32], step: tuple[float, float, float]) -> Mask:
    """The patient with everything inside: lungs and gas, no table."""
    tissue = hu > _AIR_HU
    # Opening cuts threads between skin and table; what was lost at the skin comes back by growing within the tissue.
    opened = ndimage.binary_opening(tissue, _disk(_TABLE_MM, step))
    core = _largest(np.stack([_without_small_parts(section) for section in opened]))
    tissue &= ndimage.binary_dilation(core, _disk(_TABLE_MM, step))
    border = np.concatenate([tissue[:, 0], tissue[:, -1], tissue[:, :, 0], tissue[:, :, -1]], axis=1)
    cut_out = float(border.mean()) > _CUT_OUT_SHARE
    body = np.zeros_like(tissue)
    for index, section in enumerate(tissue):
        labels, _ = ndimage.label(~section)
        touching = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        # Where the image lies within the body, air at its border is lung unless it is clear air.
        outside = [n for n in touching if n and not (cut_out and not _is_clear_air(hu[index][labels == n]))]
        body[index] = section | ((labels > 0) & ~np.isin(labels, outside))
    return body


def _without_small_parts(section: Mask) -> Mask:
    """One slice without what is far smaller than its largest part: pieces of the table, cables."""
    labels, count = ndimage.label(section)
    if count < 2:
        return section
    sizes = np.bincount(labels.ravel())[1:]
    return np.isin(labels, 1 + np.flatnonzero(sizes >= _SMALL_PART * sizes.max()))


def _is_clear_air(values: NDArray[np.float32]) -> bool:
    return bool(np.median(values) < _CLEAR_AIR_HU)


def _lung(hu: NDArray[np.float32], air: Mask, step: tuple[float, float, float]) -> Mask:
    """Aerated lung with the vessels in it."""
    # Airways join the lungs and hold clear air; the finest of them may stay.
    airways = ndimage.binary_dilation(ndimage.binary_opening(hu < _CLEAR_AIR_HU, _disk(2.0, step)), _disk(1.5, step))
    labels, count = ndimage.label(air & ~airways)
    if not count:
        return np.zeros_like(air)
    index = np.arange(1, count + 1)
    large = np.bincount(labels.ravel(), minlength=count + 1)[1:] * float(np.prod(step)) >= _LUNG_MM3
    # A lung is no shell around clear air, as the border of a gas bubble is, and less dense than stool.
    core = ndimage.binary_erosion(labels > 0)
    kept = []
    for i in index[large]:
        part = labels == i
        inner = hu[part & core]
        if inner.size > _CORE_SHARE * part.sum() and _CLEAR_AIR_HU < np.median(inner) < _STOOL_HU:
            kept.append(i)
    lung = np.isin(labels, kept)
    closed = ndimage.binary_closing(lung, _disk(_LUNG_CLOSING_MM, step)) & ~airways
    # Closing bridges the border of the image wrongly when it pads with nothing; only vessels and air may join.
    return np.asarray(lung | (closed & (hu < _DENSE_HU) & ~_thick(closed & ~lung, step)))


def _thick(mask: Mask, step: tuple[float, float, float]) -> Mask:
    """Parts of ``mask`` wider than a vessel within the lung."""
    return np.asarray(ndimage.binary_opening(mask, _disk(_LUNG_CLOSING_MM, step)))


def _bone(hu: NDArray[np.float32], inside: Mask, step: tuple[float, float, float]) -> tuple[Mask, Mask]:
    """Bone with its marrow, and the rest of what is bright."""
    dense = inside & (hu > _DENSE_HU)
    # A thin neck of partial volume joins the spine and an enhanced aorta; without it they fall apart.
    parts, count = ndimage.label(ndimage.binary_opening(dense, _disk(1.0, step)))
    if not count:
        return np.zeros_like(dense), dense
    index = np.arange(1, count + 1)
    size = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    cortical = np.asarray(ndimage.sum_labels(hu > _CORTICAL_HU, parts, index)) / size
    # Early enhanced blood is as bright as bone, but even.
    uneven = np.asarray(ndimage.standard_deviation(hu, parts, index)) > 60.0
    is_bone = (cortical > 0.12) & uneven & (size * float(np.prod(step)) >= _BONE_MM3)
    seed = np.isin(parts, index[is_bone])
    rest = np.isin(parts, index[~is_bone])
    bone = dense & ndimage.binary_dilation(seed, _disk(2.0, step)) & ~rest
    closed = ndimage.binary_closing(bone, _disk(_MARROW_MM, step))
    filled = np.stack([ndimage.binary_fill_holes(section) for section in closed])
    # Marrow is darker than cortex and never as dark as fat lobules outside; the spinal canal stays out.
    marrow = filled & inside & (hu > 60.0)
    return np.asarray(bone | marrow), dense & ~bone & ~marrow
