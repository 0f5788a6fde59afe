"""From the outlines of several readers to nodules: which belong together, what most of them agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from lesion_app.data.lidc_xml import ReaderNodule, filled
from lesion_app.errors import InputError
from transforms.geometry import VolumeGeometry

# pylidc's rule, stated in its documentation: start at the slice spacing and shrink until nobody counts twice.
SHRINK = 0.9
LEAST_TOLERANCE_MM = 0.1


@dataclass(frozen=True, eq=False)
class MarkedVoxels:
    """The voxels one reader gave one nodule.

    Args:
        reader: number of the reading session.
        malignancy: 1..5 or None.
        voxels: ``[N, 3]`` int64 (z, y, x) on the network grid, N >= 1, each once.
    """

    reader: int
    malignancy: int | None
    voxels: np.ndarray


def marked_voxels(nodule: ReaderNodule, geometry: VolumeGeometry) -> MarkedVoxels | None:
    """Fill a reader's outlines on the network grid of the CT; holes are cut out.

    Returns:
        the voxels, or None when no outline has a pixel inside.

    Raises:
        InputError: an outline lies outside the scan.
    """
    depth, height, width = geometry.shape_zyx
    to_network = np.linalg.inv(geometry.network_to_file)
    found: dict[int, np.ndarray] = {}
    window = np.concatenate([outline.points for outline in nodule.outlines])
    low, high = window.min(axis=0), window.max(axis=0)
    shape = (int(high[1] - low[1]) + 1, int(high[0] - low[0]) + 1)
    for inclusion in (True, False):
        for outline in nodule.outlines:
            if outline.inclusion is not inclusion:
                continue
            z = round((outline.z_mm - geometry.affine_lps[2, 3]) / geometry.affine_lps[2, 2])
            if not 0 <= z < depth:
                raise InputError(
                    f"the XML has an outline at z = {outline.z_mm:g} mm where the scan has no slice; expected the XML "
                    "and the images of one series, so download both anew"
                )
            plane = found.setdefault(z, np.zeros(shape, dtype=bool))
            inside = filled(outline, (int(low[0]), int(low[1])), shape)
            plane[inside] = inclusion
    parts = []
    for z, plane in sorted(found.items()):
        rows, columns = np.nonzero(plane)
        in_file = np.stack([columns + low[0], rows + low[1], np.zeros_like(rows), np.ones_like(rows)]).astype(float)
        x, y = np.rint((to_network @ in_file)[:2]).astype(np.int64)
        parts.append(np.stack([np.full(len(x), z), y, x], axis=1))
    voxels = np.concatenate(parts)
    if not len(voxels):
        return None
    if (voxels.min(axis=0) < 0).any() or (voxels.max(axis=0) >= (depth, height, width)).any():
        raise InputError(
            "the XML has an outline outside the image; expected the XML and the images of one series, so download both "
            "anew"
        )
    return MarkedVoxels(nodule.reader, nodule.malignancy, np.unique(voxels, axis=0))


def same_nodule(
    marks: Sequence[MarkedVoxels], spacing_mm: Sequence[float], readers: int, tolerance_mm: float
) -> list[list[int]]:
    """Which marks are of one nodule: those nearer to each other than a tolerance, directly or through others.

    Where more marks would be one nodule than there are readers, the tolerance shrinks for them until they part.

    Args:
        marks: of all readers.
        spacing_mm: (x, y, z).
        readers: number of readers.
        tolerance_mm: distance of the nearest voxels' middles.

    Returns:
        groups of rows of ``marks``, by their first one.
    """
    scale = np.array([spacing_mm[2], spacing_mm[1], spacing_mm[0]])
    trees = [cKDTree(mark.voxels * scale) for mark in marks]
    distance = np.zeros((len(marks), len(marks)))
    for i, mark in enumerate(marks):
        for j in range(i):
            distance[i, j] = distance[j, i] = trees[j].query(mark.voxels * scale)[0].min()
    waiting, groups = [(list(range(len(marks))), tolerance_mm)] if marks else [], []
    while waiting:
        rows, tolerance = waiting.pop()
        near = csr_array(distance[np.ix_(rows, rows)] <= tolerance)
        count, part = connected_components(near, directed=False)
        for number in range(count):
            group = [rows[i] for i in np.flatnonzero(part == number)]
            if len(group) > readers and tolerance > LEAST_TOLERANCE_MM:
                waiting.append((group, tolerance * SHRINK))
            else:
                groups.append(group)
    return sorted(groups)


def agreed_voxels(marks: Sequence[MarkedVoxels], needed: float) -> np.ndarray:
    """Voxels ``[N, 3]`` (z, y, x) that at least ``needed`` readers gave the nodule, one vote a reader; N may be 0."""
    by_reader: dict[int, list[np.ndarray]] = {}
    for mark in marks:
        by_reader.setdefault(mark.reader, []).append(mark.voxels)
    votes = np.concatenate([np.unique(np.concatenate(parts), axis=0) for parts in by_reader.values()])
    voxels, count = np.unique(votes, axis=0, return_counts=True)
    return voxels[count >= needed]
