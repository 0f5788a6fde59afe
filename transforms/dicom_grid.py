"""From the headers of a DICOM series to one regular grid, or a refusal that names file and tag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lesion_app.errors import InputError
from transforms.dicom_slice import Slice, named
from transforms.geometry import MAX_SHEAR_DEGREES

MAX_GAP_CHANGE = 0.01
# Scanners write positions rounded to 0.01 mm: two such gaps of one true spacing differ by that much.
ROUNDING_MM = 0.011
SAME_POSITION_MM = 0.01
# Of the half voxel that a coordinate may be wrong, each fault below may use up a quarter.
MAX_DRIFT_VOXELS = 0.25
MAX_COSINE_CHANGE = 1e-3
WHOLE_GAPS = 0.05
NEEDED = (
    ("position", "ImagePositionPatient"),
    ("orientation", "ImageOrientationPatient"),
    ("spacing", "PixelSpacing"),
    ("rescale", "RescaleSlope"),
)
ONE_ACQUISITION = "expected one grid, so give a folder with the slices of one acquisition only"


class IncompleteSeries(InputError):
    """A series whose files are damaged or missing: sent anew it may be sound, so nothing lesser may stand in for it."""


@dataclass(frozen=True, eq=False)
class SliceGrid:
    """Slices that form one box of voxels.

    Args:
        slices: sorted along the normal (row direction x column direction).
        shape: columns, rows, slices.
        affine: [4, 4] (column, row, slice) index -> LPS mm.
        notes: what was assumed.
    """

    slices: tuple[Slice, ...]
    shape: tuple[int, int, int]
    affine: np.ndarray
    notes: list[str]


def series_grid(slices: Sequence[Slice]) -> SliceGrid:
    """Sort slices along their normal and fit one grid.

    Raises:
        IncompleteSeries: slices are missing (gaps that are whole multiples of the spacing).
        InputError: a needed attribute is missing; orientation, spacing, size, frame of reference or in-plane
            position changes; two slices at one position; gaps that differ by more than 1 %; gantry tilt of
            more than 0.5 degrees, or one that the header contradicts.
    """
    _check_attributes(slices)
    spacing, directions = _common_plane(slices)
    normal = np.cross(directions[0], directions[1])
    normal /= np.linalg.norm(normal)
    _check_tilt_tag(slices, normal)
    positions = np.array([s.position for s in slices])
    order = np.argsort(positions @ normal, kind="stable")
    ordered = tuple(slices[i] for i in order)
    positions = positions[order]
    step, notes = _slice_step(ordered, positions, normal, float(spacing.min()))
    affine = np.eye(4)
    affine[:3, :3] = np.stack([directions[0] * spacing[1], directions[1] * spacing[0], step], axis=1)
    affine[:3, 3] = positions[0]
    return SliceGrid(ordered, (*ordered[0].size, len(ordered)), affine, notes)


def _check_attributes(slices: Sequence[Slice]) -> None:
    for name, keyword in NEEDED:
        lacking = [s.name for s in slices if getattr(s, name) is None]
        if lacking:
            raise InputError(
                f"{lacking[0]} and {len(lacking) - 1} more of {len(slices)} CT slices have no usable {named(keyword)}; "
                "it is needed to place the slices or to scale them to HU, so export the series anew"
            )
    for name, keyword in (("size", "Columns"), ("frame_of_reference", "FrameOfReferenceUID")):
        common, number = Counter(getattr(s, name) for s in slices).most_common(1)[0]
        if number < len(slices):
            odd = next(s for s in slices if getattr(s, name) != common)
            what = f"is {odd.size[0]} x {odd.size[1]} in {odd.name} but {common[0]} x {common[1]}"
            told = what if name == "size" else f"is another one in {odd.name} than"
            raise InputError(f"{named(keyword)} changes inside the CT series: {told} in most slices; {ONE_ACQUISITION}")


def _common_plane(slices: Sequence[Slice]) -> tuple[np.ndarray, np.ndarray]:
    """Spacing [2] between rows and between columns, unit directions [2, 3] of rising column and row."""
    spacings = np.array([s.spacing for s in slices])
    orientations = np.array([s.orientation for s in slices])
    spacing, orientation = np.median(spacings, axis=0), np.median(orientations, axis=0)
    columns, rows = slices[0].size
    # How far the pixel opposite the first one lies from where the grid has it, mm.
    reach = np.array([columns * spacing[1], rows * spacing[0]])
    turned = np.linalg.norm(orientations - orientation, axis=2) @ reach
    turned[np.abs(orientations - orientation).max(axis=(1, 2)) > MAX_COSINE_CHANGE] = np.inf  # small pictures too
    scaled = np.abs(spacings - spacing) @ np.array([rows, columns])
    for keyword, values, off in (
        ("ImageOrientationPatient", orientations.reshape(-1, 6), turned),
        ("PixelSpacing", spacings, scaled),
    ):
        worst = int(off.argmax())
        if off[worst] > MAX_DRIFT_VOXELS * spacing.min():
            raise InputError(
                f"{named(keyword)} changes inside the CT series: it is {_listed(values[worst])} in "
                f"{slices[worst].name} but {_listed(np.median(values, axis=0))} in most slices; {ONE_ACQUISITION}"
            )
    if np.abs(orientation @ orientation.T - np.eye(2)).max() > 1e-2:
        raise InputError(
            f"{named('ImageOrientationPatient')} of {slices[0].name} is not two perpendicular directions of length "
            f"one ({_listed(orientation.ravel())}); expected that, so export the series anew"
        )
    # Written with few digits: brought back to length one, lest the spacing suffer.
    return spacing, orientation / np.linalg.norm(orientation, axis=1, keepdims=True)


def _check_tilt_tag(slices: Sequence[Slice], normal: np.ndarray) -> None:
    """Refuse slices that a tilted gantry took, while their orientation claims to be straight.

    Positions alone look sound then, though every slice stands askew in the patient.
    """
    straight = np.degrees(np.arccos(min(1.0, abs(normal[2])))) < MAX_SHEAR_DEGREES
    tilted = [s for s in slices if abs(s.tilt or 0.0) > MAX_SHEAR_DEGREES]
    if straight and tilted:
        raise InputError(
            f"{tilted[0].name} has {named('GantryDetectorTilt')} {tilted[0].tilt:.1f} degrees, but "
            f"{named('ImageOrientationPatient')} shows none; expected headers that agree, so resample the series to a "
            "rectangular volume on the scanner first"
        )


def _slice_step(
    slices: Sequence[Slice], positions: np.ndarray, normal: np.ndarray, pixel_mm: float
) -> tuple[np.ndarray, list[str]]:
    """Vector [3] mm from a slice to the next, from sorted positions [n, 3]."""
    place = named("ImagePositionPatient")
    if len(slices) == 1:
        if not slices[0].thickness:
            raise InputError(
                f"{slices[0].name} is a single CT slice without {named('SliceThickness')}; expected a series, so give "
                "the folder with all its slices"
            )
        return normal * slices[0].thickness, ["a single slice was found; its thickness was taken for the slice spacing"]
    gaps = np.diff(positions @ normal)
    if gaps.min() < SAME_POSITION_MM:
        first = int(gaps.argmin())
        raise InputError(
            f"{slices[first + 1].name} lies where {slices[first].name} lies by {place}, and so do "
            f"{int((gaps < SAME_POSITION_MM).sum()) - 1} more of {len(slices)} CT slices (copies, phases or "
            "reconstructions in one series); expected one slice a position, so keep one set of them"
        )
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    tilt = np.degrees(np.arctan2(np.linalg.norm(np.cross(step, normal)), step @ normal))
    if tilt > MAX_SHEAR_DEGREES:
        raise InputError(
            f"{slices[0].name} and the other CT slices are shifted against their normal by {tilt:.1f} degrees (gantry "
            f"tilt, by {place} and {named('ImageOrientationPatient')}); expected slices stacked straight, so resample "
            "the series to a rectangular volume first"
        )
    residual = positions - positions[0] - np.arange(len(positions))[:, None] * step
    _check_gaps(slices, gaps, float(np.abs(residual @ normal).max()))
    aside = np.linalg.norm(residual - (residual @ normal)[:, None] * normal, axis=1)
    if aside.max() > MAX_DRIFT_VOXELS * pixel_mm:
        raise InputError(
            f"{slices[int(aside.argmax())].name} is displaced sideways by up to {aside.max():.2f} mm inside the CT "
            f"series by {place}; {ONE_ACQUISITION}"
        )
    return step, []


def _check_gaps(slices: Sequence[Slice], gaps: np.ndarray, drift: float) -> None:
    """Refuse gaps [n - 1] mm that differ, or whose sum runs off the grid (``drift`` mm)."""
    middle = float(np.median(gaps))
    off = np.abs(gaps - middle)
    if off.max() <= max(MAX_GAP_CHANGE * middle, ROUNDING_MM) and drift <= MAX_DRIFT_VOXELS * middle:
        return
    worst = int(off.argmax())
    found = (
        f"between {slices[worst].name} and {slices[worst + 1].name} lie {gaps[worst]:.2f} mm by "
        f"{named('ImagePositionPatient')}"
    )
    # Missing slices leave whole multiples of the one spacing.
    steps = gaps / middle
    lost = int((np.rint(steps) - 1).sum())
    if lost > 0 and np.abs(steps - np.rint(steps)).max() < WHOLE_GAPS and steps.min() > 1 - WHOLE_GAPS:
        raise IncompleteSeries(
            f"{found}, elsewhere {middle:.2f} mm: {lost} CT slices of the series are missing; expected all of them, so "
            "fetch the series anew"
        )
    raise InputError(
        f"{found}, and the CT slices lie {gaps.min():.2f} to {gaps.max():.2f} mm apart; expected one distance, so give "
        "one evenly spaced reconstruction"
    )


def _listed(values: np.ndarray) -> str:
    return "\\".join(f"{value:g}" for value in values)
