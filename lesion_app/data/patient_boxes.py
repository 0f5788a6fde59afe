"""Boxes in patient millimetres <-> boxes on the slices of a CT."""

from __future__ import annotations

from typing import Any

import numpy as np

from lesion_app.boxes.tracklet import Box2D, Box3D
from lesion_app.errors import InputError
from transforms.geometry import VolumeGeometry


def boxes_from_lps(boxes_lps: Any, geometry: VolumeGeometry) -> np.ndarray:
    """The inverse of ``VolumeGeometry.boxes_to_lps``.

    Args:
        boxes_lps: [N, 6] (x1, y1, z1, x2, y2, z2) LPS mm, outer faces.
        geometry: of the CT.

    Returns:
        [N, 6] float64 half-open boxes on the network grid (bounds of the mapped corners where the grid is oblique).
    """
    boxes = np.asarray(boxes_lps, dtype=np.float64).reshape(-1, 6)
    inverse = np.linalg.inv(geometry.affine_lps)
    take_high = np.array([[(corner >> axis) & 1 for axis in range(3)] for corner in range(8)], dtype=bool)
    corners = np.where(take_high, boxes[:, None, 3:], boxes[:, None, :3]) @ inverse[:3, :3].T + inverse[:3, 3]
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1) + 0.5


def slice_boxes(box: Box3D, geometry: VolumeGeometry) -> dict[int, Box2D]:
    """The box on every slice whose centre it holds, and on the nearest one when it holds none.

    Args:
        box: half-open, on the network grid.
        geometry: tells the size; boxes are clipped to it.

    Returns:
        slice index on the network grid -> (x1, y1, x2, y2) px, rounded to a thousandth.

    Raises:
        InputError: nothing of the box lies inside the CT.
    """
    depth, height, width = geometry.shape_zyx
    x1, y1, z1, x2, y2, z2 = (float(edge) for edge in box)
    first, last = int(np.ceil(z1 - 0.5)), int(np.ceil(z2 - 0.5)) - 1
    if last < first:
        first = last = int(np.floor((z1 + z2) / 2))
    clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    slices = range(max(first, 0), min(last, depth - 1) + 1)
    if not slices or clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        raise InputError(
            "a box of the label lies outside its CT; expected boxes in LPS mm inside the volume, so check that the "
            "label belongs to this image"
        )
    left, top, right, bottom = (round(edge, 3) + 0.0 for edge in clipped)
    return dict.fromkeys(slices, (left, top, right, bottom))


def overlap_3d(boxes: Any, others: Any) -> np.ndarray:
    """Intersection over union of all pairs, [N, M]; boxes (x1, y1, z1, x2, y2, z2) of one space."""
    a = np.asarray(boxes, dtype=np.float64).reshape(-1, 1, 6)
    b = np.asarray(others, dtype=np.float64).reshape(1, -1, 6)
    common = np.clip(np.minimum(a[..., 3:], b[..., 3:]) - np.maximum(a[..., :3], b[..., :3]), 0, None).prod(axis=-1)
    total = (a[..., 3:] - a[..., :3]).prod(axis=-1) + (b[..., 3:] - b[..., :3]).prod(axis=-1) - common
    return np.divide(common, total, out=np.zeros_like(common), where=total > 0)
