"""Items of MONAI's detection datalists, boxes in patient millimetres, as what this bundle trains and validates on.

MONAI Label's bundle app puts such a list in place of ``train#dataset#data`` and ``validate#dataset#data``:
``{"image": file, "box": [[x, y, z, width, height, depth], ...], "label": [0, ...]}`` in LPS mm, labels from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from monai.data import Dataset

from lesion_app.data.key_slices import key_slice_items, volume_items
from lesion_app.data.patient_boxes import boxes_from_lps, slice_boxes
from lesion_app.data.record import UNKNOWN_TYPE, Annotation, Record
from lesion_app.data.seeded_sampling import SeededDataset
from lesion_app.errors import InputError
from transforms.ct_reader import open_ct


def record_of_world_boxes(item: Mapping[str, Any]) -> Record:
    """A volume with 3D boxes -> a record with the box on every slice whose centre it holds (the nearest one at least).

    Raises:
        InputError: the image cannot be read, boxes and labels do not fit together, or a box lies outside its image.
    """
    boxes, labels = item["box"], item["label"]
    if len(boxes) != len(labels) or any(len(box) != 6 for box in boxes):
        raise InputError(
            f"an item has {len(boxes)} boxes and {len(labels)} labels; expected as many of both, each box six numbers "
            "(centre and size in LPS mm)"
        )
    geometry = open_ct(item["image"]).geometry
    depth, height, width = geometry.shape_zyx
    name = Path(item["image"]).name.split(".")[0] or "volume"
    record = Record(
        id=f"{name}_000-{depth - 1:03d}",
        image=str(item["image"]),
        series_id=name,
        patient_id=name,
        dataset="world",
        spacing_mm=[float(value) for value in geometry.spacing_mm],
        size=[width, height],
        slices=[0, depth - 1],
        annotations=[],
    )
    world = np.asarray(boxes, dtype=np.float64).reshape(-1, 6)
    half = np.abs(world[:, 3:]) / 2
    corners = np.hstack([world[:, :3] - half, world[:, :3] + half])
    for number, edges in enumerate(boxes_from_lps(corners, geometry)):
        slices = slice_boxes(tuple(edges), geometry)  # type: ignore[arg-type]
        x1, y1, x2, y2 = slices[min(slices)]
        for z, box in slices.items():
            record["annotations"].append(
                Annotation(
                    slice=z,
                    box=list(box),
                    label=int(labels[number]) + 1,
                    kind="lesion",
                    lesion_type=UNKNOWN_TYPE,
                    noisy=False,
                    extent=[x1, y1, min(slices), x2, y2, max(slices) + 1],
                    lesion=number,
                )
            )
    return record


def slab_dataset(
    data: Sequence[Mapping[str, Any]],
    transform: Sequence[Callable[..., Any]] | Callable[..., Any] | None,
    seed: int,
    *,
    cache: Literal["none", "memory"] = "none",
    cache_bytes: int = 2 * 1024**3,
) -> SeededDataset:
    """A :class:`SeededDataset` of key slices; items with ``box`` become their key slices, others stay as they are."""
    items: list[Any] = []
    for item in data:
        items += key_slice_items([record_of_world_boxes(item)]) if "box" in item else [item]
    return SeededDataset(items, transform, seed, cache=cache, cache_bytes=cache_bytes)


def volume_dataset(data: Sequence[Mapping[str, Any]], transform: Callable[..., Any] | None = None) -> Dataset:
    """A MONAI ``Dataset`` of whole volumes to validate on; items with ``box`` as above."""
    items: list[Any] = []
    for item in data:
        items += volume_items([record_of_world_boxes(item)]) if "box" in item else [item]
    return Dataset(items, transform)
