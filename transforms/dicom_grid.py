"""From the headers of a DICOM series to one regular grid, or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from lesion_app.errors import InputError
from transforms.geometry import MAX_SHEAR_DEGREES

MAX_GAP_CHANGE = 0.01
# Scanners write positions rounded to 0.01 mm: two such gaps of one true spacing differ by that much.
ROUNDING_MM = 0.011
SAME_POSITION_MM = 0.01
MAX_DRIFT_VOXELS = 0.25
LENGTHS = ("PixelSpacing", "SliceThickness")


@dataclass(frozen=True)
class Slice:
    """What one file's header says; None where an attribute is missing or unusable."""

    file: Path
    size: tuple[int, int]  # columns, rows
    position: np.ndarray | None  # [3] LPS mm, centre of the first pixel
    orientation: np.ndarray | None  # [2, 3] direction of rising column, of rising row
    spacing: np.ndarray | None  # [2] mm between rows, between columns
    rescale: np.ndarray | None  # [2] slope, intercept
    thickness: float | None  # mm


def slice_of(file: Path, header: Dataset) -> Slice:
    """Collect the attributes of a slice; faults are judged later, once the series is chosen."""
    orientation = _numbers(header, ("ImageOrientationPatient",), 6)
    thickness = _numbers(header, ("SliceThickness",), 1)
    return Slice(
        file,
        (int(header.Columns), int(header.Rows)),
        _numbers(header, ("ImagePositionPatient",), 3),
        None if orientation is None else orientation.reshape(2, 3),
        _numbers(header, ("PixelSpacing",), 2),
        _numbers(header, ("RescaleSlope", "RescaleIntercept"), 2),
        None if thickness is None else float(thickness[0]),
    )


def series_grid(slices: Sequence[Slice]) -> tuple[list[Path], tuple[int, int, int], np.ndarray, list[str]]:
    """Sort slices along their normal and fit one grid.

    Returns:
        files in order; shape (columns, rows, slices); [4, 4] affine from (column, row, slice) index
        to LPS mm; notes.

    Raises:
        InputError: a needed attribute is missing; orientation, spacing, size or in-plane position
            changes; two slices at one position; gaps that differ by more than 1 % (a missing
            slice); gantry tilt of more than 0.5 degrees.
    """
    for name, attribute in (
        ("position", "ImagePositionPatient"),
        ("orientation", "ImageOrientationPatient"),
        ("spacing", "PixelSpacing"),
        ("rescale", "RescaleSlope and RescaleIntercept"),
    ):
        lacking = [s.file.name for s in slices if getattr(s, name) is None]
        if lacking:
            raise InputError(
                f"{len(lacking)} of {len(slices)} CT slices ({lacking[0]}, ...) have no usable {attribute}; it is "
                "needed to place the slices or to scale them to HU, so export the series anew"
            )
    orientations = np.array([s.orientation for s in slices])
    spacings = np.array([s.spacing for s in slices])
    if (
        len({s.size for s in slices}) > 1
        or np.abs(orientations - orientations[0]).max() > 1e-3
        or not np.allclose(spacings, spacings[0], rtol=1e-4)
    ):
        raise InputError(
            "orientation, pixel spacing or size changes inside the CT series; expected one grid, so give a folder "
            "with the slices of one acquisition only"
        )
    (row_step, column_step), columns, rows = spacings[0], slices[0].size[0], slices[0].size[1]
    if np.abs(orientations[0] @ orientations[0].T - np.eye(2)).max() > 1e-2:
        raise InputError(
            "ImageOrientationPatient of the CT series is not two perpendicular directions of length one; expected "
            "that, so export the series anew"
        )
    # Written with few digits: brought back to length one, lest the spacing suffer.
    along_row, along_column = orientations[0] / np.linalg.norm(orientations[0], axis=1, keepdims=True)
    normal = np.cross(along_row, along_column)
    normal /= np.linalg.norm(normal)
    positions = np.array([s.position for s in slices])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    step, notes = _slice_step(positions, normal, min(row_step, column_step), slices[0].thickness)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([along_row * column_step, along_column * row_step, step], axis=1)
    affine[:3, 3] = positions[0]
    return [slices[i].file for i in order], (columns, rows, len(slices)), affine, notes


def _slice_step(
    positions: np.ndarray, normal: np.ndarray, pixel_mm: float, thickness: float | None
) -> tuple[np.ndarray, list[str]]:
    """Vector [3] mm from a slice to the next, from sorted positions [n, 3]."""
    if len(positions) == 1:
        if not thickness:
            raise InputError(
                "a single CT slice without SliceThickness was found; expected a series, so give the folder with all "
                "its slices"
            )
        return normal * thickness, ["a single slice was found; its thickness was taken for the slice spacing"]
    gaps = np.diff(positions @ normal)
    if gaps.min() < SAME_POSITION_MM:
        raise InputError(
            f"{int((gaps < SAME_POSITION_MM).sum())} of {len(positions)} CT slices lie where another one lies (copies, "
            "phases or reconstructions in one series); expected one slice a position, so keep one set of them"
        )
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    tilt = np.degrees(np.arctan2(np.linalg.norm(np.cross(step, normal)), step @ normal))
    if tilt > MAX_SHEAR_DEGREES:
        raise InputError(
            f"the CT slices are shifted against their normal by {tilt:.1f} degrees (gantry tilt); expected slices "
            "stacked straight, so resample the series to a rectangular volume first"
        )
    middle = float(np.median(gaps))
    residual = positions - positions[0] - np.arange(len(positions))[:, None] * step
    along = np.abs(residual @ normal).max()
    if np.abs(gaps - middle).max() > max(MAX_GAP_CHANGE * middle, ROUNDING_MM) or along > middle / 2:
        raise InputError(
            f"the CT slices lie {gaps.min():.2f} to {gaps.max():.2f} mm apart; expected one distance, so fetch the "
            "missing slices or give one evenly spaced reconstruction"
        )
    aside = np.linalg.norm(residual - (residual @ normal)[:, None] * normal, axis=1).max()
    if aside > MAX_DRIFT_VOXELS * pixel_mm:
        raise InputError(
            f"CT slices are displaced sideways by up to {aside:.2f} mm inside the series; expected one grid, so give "
            "a folder with the slices of one acquisition only"
        )
    return step, []


def _numbers(header: Dataset, keywords: tuple[str, ...], count: int) -> np.ndarray | None:
    """The finite numbers of one or several attributes, or None."""
    try:
        values = np.concatenate([np.atleast_1d(np.asarray(header[key].value, dtype=np.float64)) for key in keywords])
    except (KeyError, TypeError, ValueError):
        return None
    if values.shape != (count,) or not np.isfinite(values).all():
        return None
    return None if keywords[0] in LENGTHS and values.min() <= 0 else values
