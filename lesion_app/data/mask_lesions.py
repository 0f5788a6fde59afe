"""Voxel masks -> lesions: lay a mask over its CT, take it apart, and box every part on every slice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Pair
from scipy import ndimage

from lesion_app.data.volume_case import VolumeLesion
from lesion_app.errors import InputError
from transforms.ct_source import decoding
from transforms.geometry import VolumeGeometry

_NEIGHBOURS_26 = np.ones((3, 3, 3), dtype=bool)
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Spacings that differ by more do not describe one grid; headers round to about a thousandth.
_SAME_SPACING = 0.01


def mask_on_network_grid(path: Path, geometry: VolumeGeometry) -> tuple[np.ndarray, list[str]]:
    """Read a NIfTI mask onto the network grid of its CT.

    Mask and CT hold the same voxels, but their headers need not agree. Where the spacings agree (1 %), the mask's
    orientation is believed: it may be stored along other or flipped axes. Where they contradict each other, one of
    the two headers is a stand-in (LiTS has identity matrices in some masks and in volumes 28 to 47), and the voxels are
    matched index by index in the files' own order. The origin is not looked at.

    Returns:
        int64 [Z, H, W], the values of the mask; and a note where the headers contradicted each other.

    Raises:
        InputError: not NIfTI, not whole numbers, or not as many voxels along each axis as the CT.
    """
    with decoding(path.name, "a NIfTI mask"):
        image = nibabel.load(path)
        if not isinstance(image, Nifti1Pair):
            raise TypeError("another format under a NIfTI name")
        values = np.asanyarray(image.dataobj)
        affine = _RAS_TO_LPS @ np.asarray(image.affine, dtype=np.float64)
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3 or not all(values.shape):
        raise InputError(
            f"mask {path.name} holds a {' x '.join(map(str, values.shape))} array; expected one three-dimensional "
            "mask, so export it as such"
        )
    whole = np.rint(values) if values.dtype.kind == "f" else values
    if values.dtype.kind not in "iuf" or not np.array_equal(whole, values):
        raise InputError(
            f"mask {path.name} holds values that are no whole numbers; expected 0 for background and labels from 1, "
            "so give the segmentation and not an image"
        )
    try:
        own: VolumeGeometry | None = VolumeGeometry.from_file_grid(values.shape, affine)
    except InputError:
        own = None
    agree = own is not None and np.allclose(own.spacing_mm, geometry.spacing_mm, rtol=_SAME_SPACING, atol=1e-4)
    notes = []
    if not agree:
        notes.append("the headers of mask and CT contradict each other; their voxels were matched index by index")
    grid = own if own is not None and agree else geometry
    mask = _to_network(whole, grid) if _file_shape(grid) == values.shape else None
    if mask is None or mask.shape != geometry.shape_zyx:
        raise InputError(
            f"mask {path.name} has {' x '.join(map(str, values.shape))} voxels where its CT has "
            f"{' x '.join(map(str, _file_shape(geometry)))}; expected a mask drawn on that very CT, so give the mask "
            "that belongs to it"
        )
    return mask.astype(np.int64), notes


def lesions_of_mask(
    mask: np.ndarray, values: Sequence[int], lesion_type: int, min_voxels: int = 1
) -> list[VolumeLesion]:
    """Boxes of every 26-connected part of every value.

    Args:
        mask: [Z, H, W] whole numbers on the network grid.
        values: those that are lesions; parts of different values are different lesions even where they touch.
        lesion_type: DeepLesion's 1..8, given to all.
        min_voxels: smaller parts are left out.

    Returns:
        lesions by value, then first slice, row and column of their extent. Every slice that a part touches has the
        tight box of its voxels there.
    """
    found: list[VolumeLesion] = []
    for value in values:
        parts, count = ndimage.label(mask == value, structure=_NEIGHBOURS_26)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        of_value = []
        for number, window in enumerate(ndimage.find_objects(parts), start=1):
            if sizes[number] < min_voxels:
                continue
            z, y, x = (int(part.start) for part in window)
            of_value.append(_boxed(parts[window] == number, (z, y, x), lesion_type))
        of_value.sort(key=lambda lesion: (lesion.extent[2], lesion.extent[1], lesion.extent[0]))
        found += of_value
    return found


def _boxed(part: np.ndarray, start: tuple[int, int, int], lesion_type: int) -> VolumeLesion:
    """Boxes of one part, ``part`` [z, y, x] bool being its window at ``start``."""
    rows: np.ndarray = np.asarray(part.any(axis=2))
    columns: np.ndarray = np.asarray(part.any(axis=1))
    slices = np.flatnonzero(rows.any(axis=1))
    rows, columns = rows[slices], columns[slices]
    z, y, x = start
    boxes = np.stack(
        [
            x + columns.argmax(axis=1),
            y + rows.argmax(axis=1),
            x + columns.shape[1] - columns[:, ::-1].argmax(axis=1),
            y + rows.shape[1] - rows[:, ::-1].argmax(axis=1),
        ],
        axis=1,
    ).astype(np.float64)
    depth, height, width = part.shape
    extent = (float(x), float(y), float(z), float(x + width), float(y + height), float(z + depth))
    return VolumeLesion(slices.astype(np.int64) + z, boxes, extent, lesion_type)


def _file_shape(geometry: VolumeGeometry) -> tuple[int, ...]:
    """Voxels along the file's own axes."""
    shape = [0, 0, 0]
    for axis, size in zip(geometry.file_axes, geometry.shape_zyx[::-1]):
        shape[axis] = size
    return tuple(shape)


def _to_network(values: np.ndarray, geometry: VolumeGeometry) -> np.ndarray:
    """Reorder an array in the file's axes to [z, y, x] of the network grid."""
    turned = values.transpose([geometry.file_axes[axis] for axis in (2, 1, 0)])
    return turned[tuple(slice(None, None, -1 if geometry.flipped[axis] else 1) for axis in (2, 1, 0))]
