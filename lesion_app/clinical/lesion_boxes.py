"""The lesions of ``lesions.json`` as the DICOM writers need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lesion_app.errors import InputError

Box2D = tuple[float, float, float, float]


@dataclass(frozen=True)
class LesionBoxes:
    """One lesion on the axial grid.

    Args:
        number: its id, from 1 by descending score.
        score: 0..1.
        key_slice: axial slice of the highest score.
        boxes: half-open px box on every slice from the first to the last, inside the image. A slice between two
            detections that has none of its own gets the box that runs straight from one to the other.
    """

    number: int
    score: float
    key_slice: int
    boxes: Mapping[int, Box2D]

    @property
    def name(self) -> str:
        return f"Lesion {self.number}"

    @property
    def key_box(self) -> Box2D:
        return self.boxes[self.key_slice]

    def key_sides_mm(self, spacing_mm: Any) -> tuple[float, float]:
        """Longer and shorter side of the box on the key slice, mm; ``spacing_mm`` is (x, y, z) of the grid."""
        x1, y1, x2, y2 = self.key_box
        sides = sorted(((x2 - x1) * float(spacing_mm[0]), (y2 - y1) * float(spacing_mm[1])))
        return sides[1], sides[0]

    def height_mm(self, spacing_mm: Any) -> float:
        """Distance of the outer faces of the first and the last slice, mm."""
        return len(self.boxes) * float(spacing_mm[2])

    def end_faces_lps(self, affine_lps: np.ndarray) -> np.ndarray:
        """The two faces of the 3D box that lie along the slices, as closed polygons [2, 5, 3] in LPS mm.

        The 3D box holds the boxes of all slices and reaches to the outer voxel faces, so that its eight corners are
        the vertices of the two polygons.
        """
        edges = np.array(list(self.boxes.values()))
        (x1, y1), (x2, y2) = edges[:, :2].min(axis=0) - 0.5, edges[:, 2:].max(axis=0) - 0.5
        faces = [
            [(x, y, z, 1.0) for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1))]
            for z in (min(self.boxes) - 0.5, max(self.boxes) + 0.5)
        ]
        return (np.array(faces) @ np.asarray(affine_lps, dtype=np.float64).T)[..., :3]


def lesion_boxes(document: Mapping[str, Any]) -> list[LesionBoxes]:
    """The lesions of ``document`` (the content of ``lesions.json``) in its order.

    Raises:
        InputError: for a box outside of its image.
    """
    size = document["grid"]["size_xyz"]
    return [_lesion(entry, size) for entry in document["lesions"]]


def _lesion(entry: Mapping[str, Any], size_xyz: tuple[int, int, int]) -> LesionBoxes:
    width, height, depth = size_xyz
    found = {int(item["axial_slice"]): item["box"] for item in entry["slices"]}
    slices = np.arange(min(found), max(found) + 1)
    known = np.array([found[z] for z in sorted(found)], dtype=np.float64)
    edges = np.stack([np.interp(slices, sorted(found), known[:, side]) for side in range(4)], axis=1)
    edges = np.clip(edges, 0, [width, height, width, height])
    if slices[0] < 0 or slices[-1] >= depth or (edges[:, 2:] <= edges[:, :2]).any() or entry["key_slice"] not in found:
        raise InputError(
            f"lesion {entry['id']} of the result file does not lie inside its own grid; run the detection again"
        )
    return LesionBoxes(
        int(entry["id"]),
        float(entry["score"]),
        int(entry["key_slice"]),
        {int(z): (float(x1), float(y1), float(x2), float(y2)) for z, (x1, y1, x2, y2) in zip(slices, edges)},
    )
