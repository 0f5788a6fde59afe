"""Where the voxels of a volume lie: network grid, the file's own grid and patient space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel.orientations as orientations
import numpy as np

from lesion_app.errors import InputError

MAX_SHEAR_DEGREES = 0.5


@dataclass(frozen=True, eq=False)
class VolumeGeometry:
    """A volume on the network grid: axial slices, x to the patient's left, y posterior, z superior.

    Indices are continuous voxel-CENTRE indices in the order (x, y, z); boxes are half-open
    ``(x1, y1, z1, x2, y2, z2)``, voxel k covering [k, k + 1), so a box edge e is the centre index
    e - 0.5. Oblique files keep their own axes: each is given to the nearest patient axis.

    Args:
        shape_zyx: number of slices, rows, columns.
        spacing_mm: distance of voxel centres along (x, y, z), mm.
        affine_lps: [4, 4] float64, network index -> LPS mm (DICOM patient coordinates).
        network_to_file: [4, 4] float64, network index -> index in the file's own axis order
            (NIfTI i, j, k; DICOM column, row, slice sorted along the normal; NRRD/MHA index order;
            PNG column, row, slice number): a permutation with flips and an offset.
        first_slice_number: number of the slice at z = 0; 0 unless a run of slices was asked for or
            the files are numbered (PNG).
    """

    shape_zyx: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    affine_lps: np.ndarray
    network_to_file: np.ndarray
    first_slice_number: int = 0

    def __post_init__(self) -> None:
        for name in ("affine_lps", "network_to_file"):
            # Adding 0.0 turns the -0.0 of flips into 0.0, so that written coordinates look sane.
            matrix = np.array(getattr(self, name), dtype=np.float64) + 0.0
            matrix.setflags(write=False)
            object.__setattr__(self, name, matrix)

    @classmethod
    def from_file_grid(
        cls, shape: tuple[int, int, int], affine_lps: np.ndarray, slices: tuple[int, int] | None = None
    ) -> VolumeGeometry:
        """Turn a file's grid into the network grid.

        Args:
            shape: voxels along the file's axes (i, j, k).
            affine_lps: [4, 4], file index -> LPS mm.
            slices: first and last network slice to keep (inclusive); None keeps all.

        Raises:
            InputError: for a degenerate or sheared grid, or slices outside the volume.
        """
        spacing = _checked_spacing(affine_lps)
        # nibabel only asks which output axis each file axis is nearest to, so LPS serves as well as RAS.
        nearest = orientations.io_orientation(affine_lps)
        network_to_file = orientations.inv_ornt_aff(nearest, shape)
        file_axes = np.argsort(nearest[:, 0])
        width, height, depth = (int(shape[axis]) for axis in file_axes)
        first, last = slices if slices is not None else (0, depth - 1)
        if not 0 <= first <= last < depth:
            raise InputError(
                f"slices {first} to {last} were asked for, but the volume has slices 0 to {depth - 1}; "
                "give a run that lies inside it"
            )
        start = np.eye(4)
        start[2, 3] = first
        network_to_file = network_to_file @ start
        return cls(
            (last - first + 1, height, width),
            (float(spacing[file_axes[0]]), float(spacing[file_axes[1]]), float(spacing[file_axes[2]])),
            affine_lps @ network_to_file,
            network_to_file,
            first,
        )

    @property
    def file_axes(self) -> tuple[int, int, int]:
        """File axis that each network axis (x, y, z) runs along."""
        x, y, z = np.abs(self.network_to_file[:3, :3]).argmax(axis=0)
        return int(x), int(y), int(z)

    @property
    def flipped(self) -> tuple[bool, bool, bool]:
        """Whether each network axis (x, y, z) runs against its file axis."""
        x, y, z = self.network_to_file[:3, :3].sum(axis=0) < 0
        return bool(x), bool(y), bool(z)

    def boxes_to_file_grid(self, boxes3d: Any) -> np.ndarray:
        """Map boxes [N, 6] from the network grid to half-open boxes in the file's own index order.

        Returns:
            [N, 6] float64 ``(i1, j1, k1, i2, j2, k2)``; for PNG k is the slice number.
        """
        return _bounds(self.network_to_file, boxes3d) + 0.5

    def boxes_to_lps(self, boxes3d: Any) -> np.ndarray:
        """Map boxes [N, 6] from the network grid to LPS mm.

        Returns:
            [N, 6] float64 ``(xmin, ymin, zmin, xmax, ymax, zmax)``: axis-aligned bounds of the
            outer voxel faces.
        """
        return _bounds(self.affine_lps, boxes3d)


def _bounds(affine: np.ndarray, boxes3d: Any) -> np.ndarray:
    """Axis-aligned bounds [N, 6] of the eight mapped corners of boxes [N, 6] (edges -> centre indices)."""
    boxes = np.asarray(boxes3d, dtype=np.float64).reshape(-1, 6) - 0.5
    low, high = boxes[:, None, :3], boxes[:, None, 3:]
    take_high = np.array([[(corner >> axis) & 1 for axis in range(3)] for corner in range(8)], dtype=bool)
    corners = np.where(take_high, high, low) @ affine[:3, :3].T + affine[:3, 3]
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def _checked_spacing(affine: np.ndarray) -> np.ndarray:
    """Spacing [3] of the file's axes in mm; refuses grids that are no box of voxels."""
    columns = np.asarray(affine, dtype=np.float64)[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    if not (np.isfinite(affine).all() and (spacing > 0).all()):
        raise InputError(
            "the file's voxel spacing or orientation is zero or not a number; expected a positive spacing in mm "
            "and three axes, so write the file anew with a valid header"
        )
    cosines = np.abs((columns / spacing).T @ (columns / spacing))[np.triu_indices(3, 1)]
    shear = float(np.degrees(np.arcsin(min(1.0, cosines.max()))))
    if shear > MAX_SHEAR_DEGREES:
        raise InputError(
            f"the file's axes are {shear:.1f} degrees off perpendicular (a gantry tilt left in, perhaps); "
            "expected a rectangular grid, so resample the volume to one first"
        )
    return spacing
