"""FROC by lesion size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from lesion_app.metrics.froc import FrocCurve

SIZE_EDGES_MM = (10.0, 30.0)
"""Borders between small, medium and large in DeepLesion's literature (3DCE, MULAN): < 10, 10 to 30, > 30 mm."""


def long_side_mm(boxes: ArrayLike, spacing_mm: ArrayLike, padding_px: float = 0.0) -> np.ndarray:
    """Long side of lesions in millimetres.

    Args:
        boxes: ``[N, 4]`` ``(x1, y1, x2, y2)`` px, half-open.
        spacing_mm: mm per px, ``(x, y)`` or ``(x, y, z)`` for all, or ``[N, 2 or 3]``.
        padding_px: margin that the boxes carry around the lesion on each side (5 in DeepLesion), taken off first.

    Returns:
        ``[N]`` float64, >= 0.
    """
    table = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    spacing = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64)[..., :2], (len(table), 2))
    sides = np.maximum(table[:, 2:] - table[:, :2] - 2 * padding_px, 0.0)
    return (sides * spacing).max(axis=1)


def froc_by_size(
    curve: FrocCurve, sizes_mm: ArrayLike, edges_mm: Sequence[float] = SIZE_EDGES_MM
) -> dict[str, FrocCurve]:
    """Split a curve by the size of the true lesions; all share the false positives (``FrocCurve.subset``).

    Args:
        curve: of ``G`` lesions.
        sizes_mm: ``[G]``, in the order of the curve's truth.
        edges_mm: increasing borders; a lesion on a border belongs to the larger bin.

    Returns:
        One curve a bin from small to large, named like ``"< 10 mm"``, ``"10-30 mm"``, ``">= 30 mm"``.

    Raises:
        ValueError: when there is not one size a lesion, or the borders do not increase.
    """
    sizes, edges = np.asarray(sizes_mm, dtype=np.float64), list(edges_mm)
    if sizes.shape != (curve.n_truth,):
        raise ValueError(f"expected {curve.n_truth} sizes, got shape {list(sizes.shape)}")
    if not edges or any(b <= a for a, b in pairwise(edges)):
        raise ValueError(f"the borders between sizes must increase, got {edges}")
    names = [f"< {edges[0]:g} mm", *(f"{a:g}-{b:g} mm" for a, b in pairwise(edges)), f">= {edges[-1]:g} mm"]
    bins = np.digitize(sizes, edges)
    return {name: curve.subset(bins == i) for i, name in enumerate(names)}
