"""LUNA16: MetaImage scans in subset folders and nodules as world coordinates with a diameter.

Setio et al., "Validation, comparison, and combination of algorithms for automatic detection of pulmonary nodules in
computed tomography images: the LUNA16 challenge", Med. Image Anal. 42, 2017. 888 scans, 601 of them with the 1,186
nodules of at least 3 mm that three of four readers of LIDC-IDRI accepted.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lesion_app.data.volume_case import FoundLesions, VolumeCase, VolumeCases, VolumeLesion
from lesion_app.errors import InputError
from transforms.geometry import VolumeGeometry

ANNOTATIONS = "annotations.csv"
COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")
LUNG = 5
_SUBSET = re.compile(r"subset(\d+)", re.IGNORECASE)
# Lung masks of the challenge bear the names of the scans.
_MASKS = re.compile(r"seg-?lungs", re.IGNORECASE)


@dataclass(frozen=True)
class Nodules:
    """Spheres of one scan.

    Args:
        centres: one (x, y, z) a nodule, LPS mm (the world of ITK, in which annotations.csv counts).
        diameters_mm: one a nodule, > 0.
        name: of the scan, for messages.
    """

    centres: tuple[tuple[float, float, float], ...]
    diameters_mm: tuple[float, ...]
    name: str

    def __call__(self, geometry: VolumeGeometry) -> FoundLesions:
        """Boxes of the spheres on the CT's network grid, see `sphere_boxes`.

        Raises:
            InputError: a centre lies outside the scan.
        """
        to_index = np.linalg.inv(geometry.affine_lps)
        size = np.array(geometry.shape_zyx[::-1])
        lesions = []
        for centre, diameter in zip(self.centres, self.diameters_mm):
            index = to_index[:3, :3] @ np.array(centre) + to_index[:3, 3]
            if ((index < -0.5) | (index > size - 0.5)).any():
                raise InputError(
                    f"{ANNOTATIONS} has a nodule at {centre} mm outside scan {self.name}; expected LPS mm inside it, "
                    "so use the annotations and scans of one release"
                )
            lesions.append(sphere_boxes(index, diameter, geometry))
        return FoundLesions(lesions)


def sphere_boxes(centre: np.ndarray, diameter_mm: float, geometry: VolumeGeometry) -> VolumeLesion:
    """Boxes of a sphere on every slice whose plane cuts it.

    A slice shows what lies within its thickness, so its box holds the widest circle of the sphere that is no more than
    half a slice away from its plane; it is at least one pixel wide and clipped to the image. A sphere between two
    planes gets the nearer one.

    Args:
        centre: [3] voxel-centre index (x, y, z), may be fractional, inside the volume.
        diameter_mm: > 0.
        geometry: the grid.
    """
    depth, height, width = geometry.shape_zyx
    dx, dy, dz = geometry.spacing_mm
    radius = diameter_mm / 2
    planes = np.arange(depth)
    distance = np.abs(planes - centre[2]) * dz
    cut = distance < radius
    cut[int(distance.argmin())] = True
    slices = planes[cut]
    half = np.sqrt(np.maximum(radius**2 - np.maximum(distance[cut] - dz / 2, 0.0) ** 2, 0.0))
    half_x, half_y = np.maximum(half / dx, 0.5), np.maximum(half / dy, 0.5)
    x, y = centre[0] + 0.5, centre[1] + 0.5  # index of a voxel's centre -> edge coordinates
    boxes = np.stack([x - half_x, y - half_y, x + half_x, y + half_y], axis=1)
    boxes = np.clip(boxes, 0.0, [width, height, width, height])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    extent = (
        float(low[0]),
        float(low[1]),
        float(slices[0]),
        float(high[0]),
        float(high[1]),
        float(slices[-1] + 1),
    )
    return VolumeLesion(slices.astype(np.int64), boxes, extent, LUNG)


def read_luna16(source: Path, *, allow_missing: bool = False) -> VolumeCases:
    """List the scans of LUNA16 with their nodules; no scan is opened.

    Args:
        source: folder with ``annotations.csv`` (or ``CSVFILES/annotations.csv``) and the scans
            ``subset0/<seriesuid>.mhd`` + ``.raw``, ...; a part of the subsets will do with ``allow_missing``. Folders
            of lung masks (``seg-lungs-LUNA16``) are passed over. Scans without a nodule are kept.
        allow_missing: leave out nodules whose scan is not there instead of failing.

    Returns:
        scans by seriesuid; ``series_id`` is the UID with hyphens for dots, ``fold`` the number of the subset. LUNA16
        does not say which scans are of one patient (a handful are): every scan counts as one.

    Raises:
        InputError: no scan, one UID twice, an annotation without scan, a faulty table.
    """
    source = Path(source)
    scans: dict[str, Path] = {}
    for path in sorted(source.rglob("*.mhd")) if source.is_dir() else ():
        if any(_MASKS.search(part) for part in path.relative_to(source).parts[:-1]):
            continue
        if path.stem in scans:
            raise InputError(
                f"scan {path.name} was found twice below the folder; expected each once, remove one of them"
            )
        scans[path.stem] = path
    if not scans:
        raise InputError(
            f"{source} holds no scan; expected LUNA16's <seriesuid>.mhd files in subset folders, so unpack the subsets "
            "there"
        )
    table = next((f for f in (source / ANNOTATIONS, source / "CSVFILES" / ANNOTATIONS) if f.is_file()), None)
    if table is None:
        raise InputError(f"{source} holds no {ANNOTATIONS}; put LUNA16's table of nodules beside the subset folders")
    nodules = _read_annotations(table)
    strangers = sorted(set(nodules) - set(scans))
    warnings = []
    if strangers:
        told = f"{len(strangers)} of {len(nodules)} scans named in {ANNOTATIONS} are not there"
        if not allow_missing:
            raise InputError(
                f"{told}, the first of them {strangers[0]}; unpack all subsets, or pass --allow-missing to leave them "
                "out."
            )
        warnings.append(f"{told} and were left out.")
    cases = []
    for uid, path in sorted(scans.items()):
        spheres = nodules.get(uid, [])
        name = re.sub(r"[^A-Za-z0-9]+", "-", uid).strip("-")
        fold = next((int(m[1]) for part in path.parts[::-1][1:] if (m := _SUBSET.fullmatch(part))), None)
        found = Nodules(tuple((x, y, z) for x, y, z, _ in spheres), tuple(d for *_, d in spheres), path.stem)
        cases.append(VolumeCase(name, name, path, found, fold))
    empty = sum(not nodules.get(uid) for uid in scans)
    if empty:
        warnings.append(f"{empty} of {len(scans)} scans have no nodule and are negative throughout.")
    return VolumeCases(cases, warnings)


def _read_annotations(path: Path) -> dict[str, list[tuple[float, float, float, float]]]:
    """(x, y, z, diameter) mm of every nodule by seriesuid, in order of the file."""
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(
                    f"{path.name} lacks the column(s) {', '.join(missing)}; expected LUNA16's {', '.join(COLUMNS)}."
                )
            for row in reader:
                try:
                    x, y, z, diameter = (float(row[name]) for name in COLUMNS[1:])
                    if not row["seriesuid"] or not np.isfinite([x, y, z, diameter]).all() or diameter <= 0:
                        raise ValueError
                except (TypeError, ValueError):
                    raise InputError(
                        f"{path.name}, line {reader.line_num}: expected a seriesuid, three coordinates in mm and a "
                        "positive diameter_mm; mend or remove that line."
                    ) from None
                found.setdefault(row["seriesuid"].strip(), []).append((x, y, z, diameter))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name} cannot be read as a CSV file; copy LUNA16's {ANNOTATIONS} anew.") from error
    return found
