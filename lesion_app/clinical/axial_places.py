"""Which image plane of a CT series holds each axial slice of the detector's grid, and where its pixels lie in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lesion_app.clinical.source_series import SlicePlane
from lesion_app.errors import InputError

# Sideways drift of a series that counts as one grid stays below a quarter of a voxel; positions are rounded besides.
_MAX_SHIFT_PX = 0.75
_PX_DIGITS = 3
_MIN_COSINE = 0.99  # of the angle between an axial slice and its image


@dataclass(frozen=True, eq=False)
class AxialPlace:
    """An axial slice of the detector's grid and the image plane it is.

    Args:
        plane: the image plane.
        to_image: [2, 3] float64, pixel-centre index (x, y, 1) of the axial slice to (column, row) of the plane.
    """

    plane: SlicePlane
    to_image: np.ndarray

    def boxes_to_image(self, boxes: Any) -> np.ndarray:
        """Map boxes [N, 4] px of the axial slice to boxes [N, 4] px of the plane, both half-open; clipped to it."""
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 2, 2) - 0.5
        corners = boxes @ self.to_image[:, :2].T + self.to_image[:, 2] + 0.5
        corners = np.clip(np.round(corners, _PX_DIGITS), 0, self.plane.size)
        return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)

    def pixels_to_image(self, axial: np.ndarray) -> np.ndarray:
        """Turn an axial picture [H, W, ...] into the plane's own orientation [rows, columns, ...]."""
        image = np.swapaxes(axial, 0, 1) if self._swapped else axial
        return image[self._flips]

    def pixels_to_axial(self, image: np.ndarray) -> np.ndarray:
        """The inverse of ``pixels_to_image``."""
        image = image[self._flips]
        return np.swapaxes(image, 0, 1) if self._swapped else image

    @property
    def _swapped(self) -> bool:
        return bool(abs(self.to_image[0, 1]) > abs(self.to_image[0, 0]))

    @property
    def _flips(self) -> tuple[slice, slice]:
        column_sign, row_sign = self.to_image[:, :2].sum(axis=1)
        return slice(None, None, -1 if row_sign < 0 else 1), slice(None, None, -1 if column_sign < 0 else 1)


def place_axial_slices(grid: Mapping[str, Any], planes: Sequence[SlicePlane]) -> list[AxialPlace | None]:
    """Find the image plane of each axial slice by its position in the patient.

    Args:
        grid: ``grid`` of ``lesions.json``.
        planes: of the series, in any order.

    Returns:
        one place a slice of the grid; None where no plane lies there.

    Raises:
        InputError: planes that are no axial slices of this grid (another series, reformats, a resampled grid), or
            several planes at one place.
    """
    affine = np.asarray(grid["affine_lps"], dtype=np.float64)
    width, height, depth = grid["size_xyz"]
    spacing = float(grid["spacing_mm"][2])
    from_lps = np.linalg.inv(np.stack([plane.affine_lps for plane in planes]))
    centres = affine @ np.array(
        [np.full(depth, (width - 1) / 2), np.full(depth, (height - 1) / 2), np.arange(depth), np.ones(depth)]
    )
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    if np.abs(from_lps[:, 2, :3] @ (normal / np.linalg.norm(normal))).min() < _MIN_COSINE:
        raise InputError(_other_grid())
    distance = np.abs(from_lps[:, 2] @ centres)  # [planes, slices], mm along each plane's normal
    inside = distance < spacing / 2
    if (inside.sum(axis=0) > 1).any():
        raise InputError(
            "several images of the CT series lie on one axial slice; expected one image a slice, so keep one phase or "
            "reconstruction"
        )
    places: list[AxialPlace | None] = []
    for z in range(depth):
        if not inside[:, z].any():
            places.append(None)
            continue
        index = int(inside[:, z].argmax())
        to_plane = from_lps[index] @ affine
        _check_same_grid(to_plane, z, planes[index].size, (width, height), spacing)
        to_image = np.column_stack([to_plane[:2, :2], to_plane[:2, 2] * z + to_plane[:2, 3]])
        places.append(AxialPlace(planes[index], to_image))
    if not any(places):
        raise InputError(_other_grid())
    return places


def _check_same_grid(
    to_plane: np.ndarray, z: int, size: tuple[int, int], axial_size: tuple[int, int], spacing: float
) -> None:
    """Raise unless the axial slice covers the image pixel by pixel: its corners are the image's corners."""
    width, height = axial_size
    corners = np.array([(x, y, z, 1) for x in (-0.5, width - 0.5) for y in (-0.5, height - 0.5)]) @ to_plane.T
    in_image = corners[:, :2] + 0.5
    nearest = np.where(in_image > np.array(size) / 2, size, 0)
    shifted = np.abs(in_image - nearest).max() > _MAX_SHIFT_PX
    if shifted or len(np.unique(nearest, axis=0)) < 4 or np.abs(corners[:, 2]).max() > spacing:
        raise InputError(_other_grid())


def _other_grid() -> str:
    return (
        "the slices the lesions were found on are not the images of this CT series; expected the very axial images "
        "that were looked at, so give those files (not a reformat or another reconstruction)"
    )
