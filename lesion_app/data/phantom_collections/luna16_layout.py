"""A phantom scan in LUNA16's layout: MetaImage in subset folders, nodules as world coordinates and diameter."""

from __future__ import annotations

from pathlib import Path

import itk
import numpy as np

from lesion_app.data.luna16 import ANNOTATIONS, COLUMNS
from lesion_app.data.phantom_collections.scan import PhantomScan

SUBSETS = 10


def seriesuid(index: int, seed: int) -> str:
    """A made-up UID in the shape of LIDC's; 2.25 is the root for such."""
    return f"2.25.{16000000 + seed}.{index + 1}"


def series_id(index: int, seed: int) -> str:
    """What `read_luna16` calls the scan."""
    return seriesuid(index, seed).replace(".", "-")


def write_scan(scan: PhantomScan, folder: Path, index: int, seed: int) -> list[str]:
    """Write ``subset<k>/<uid>.mhd`` and ``.raw``; returns the rows of annotations.csv.

    Every eighth scan has its x and y axes flipped, as some of LUNA16 have.
    """
    uid = seriesuid(index, seed)
    spacing, size = scan.phantom.spacing_mm, scan.phantom.size
    voxels, origin, direction = scan.voxels(), np.array(scan.first_corner_mm), np.eye(3)
    if index % 8 == 7:
        voxels = voxels[:, ::-1, ::-1]
        direction[0, 0] = direction[1, 1] = -1.0
        origin[:2] += (size - 1) * np.array(spacing[:2])
    image = itk.image_from_array(np.ascontiguousarray(voxels))
    image.SetSpacing(spacing)
    image.SetOrigin(origin.tolist())
    image.SetDirection(itk.matrix_from_array(direction))
    place = folder / f"subset{index % SUBSETS}"
    place.mkdir(parents=True, exist_ok=True)
    itk.imwrite(image, str(place / f"{uid}.mhd"))
    rows = []
    for number in scan.labelled:
        lesion = scan.truth[number]
        x1, y1, _, x2, y2, _ = lesion.extent
        # Slices count from the head, the grid from the feet; weighed by area, as the middle of a lesion is.
        areas = {z: float(np.prod(mark.diameters_px)) for z, mark in lesion.recists.items()}
        middle = sum(z * area for z, area in areas.items()) / sum(areas.values())
        index_xyz = np.array([(x1 + x2) / 2 - 0.5, (y1 + y2) / 2 - 0.5, scan.phantom.count - 1 - middle])
        centre = np.array(scan.first_corner_mm) + index_xyz * np.array(spacing)
        diameter = float(np.mean(lesion.key.diameters_px)) * spacing[0]
        rows.append(",".join([uid, *(f"{v:.6f}" for v in centre), f"{diameter:.6f}"]))
    return rows


def write_table(folder: Path, rows: list[str]) -> None:
    """Write annotations.csv."""
    (folder / ANNOTATIONS).write_text("\n".join([",".join(COLUMNS), *rows]) + "\n", encoding="utf-8")
