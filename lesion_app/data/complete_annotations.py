"""The two published complete annotations of DeepLesion sub-volumes, as they come and as JSON.

- Lesion Harvester: Cai et al., "Lesion-Harvester: iteratively mining unlabeled lesions and hard-negative
  examples at scale", IEEE TMI 40(1), 2021: one 2D box a lesion on its key slice.
- LENS: Yan et al., "Learning from multiple datasets with heterogeneous and partial labels for universal
  lesion detection in CT", IEEE TMI 40(10), 2021: one 3D box a lesion.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lesion_app.data.deeplesion import new_record, sub_volume_geometry
from lesion_app.data.deeplesion_csv import LesionRows, clip_to_image, half_open_box
from lesion_app.data.record import UNKNOWN_TYPE, Annotation, Record, SubVolumeName, parse_sub_volume
from lesion_app.data.restricted_pickle import read_pickle
from lesion_app.errors import InputError

_LAYOUTS = (
    "Lesion Harvester's {sub-volume: [[z, x1, y1, x2, y2], ...]} or LENS's "
    "{'val'|'test': {sub-volume: [[x1, y1, z1, x2, y2, z2], ...]}}"
)
# Coordinates in the JSON copies are rounded to 0.001 px, those of DL_info.csv to six digits.
_SAME_BOX_PX = 0.01


@dataclass(frozen=True)
class CompleteAnnotations:
    """Every lesion of some sub-volumes.

    ``boxes`` [N, 6] a sub-volume: (x1, y1, z1, x2, y2, z2), x and y in px, 0-based half-open, not clipped;
    z in file numbers of the series, half-open (z2 = last slice + 1). Lesion Harvester's boxes span one slice.
    """

    source: Literal["Lesion Harvester", "LENS"]
    boxes: dict[SubVolumeName, np.ndarray]


def read_complete_annotations(path: Path, split: Literal["validation", "test"] = "test") -> CompleteAnnotations:
    """Read a Lesion Harvester or LENS file, JSON or the published pickle (told apart by content).

    Boxes of both are taken as DeepLesion's 1-based inclusive px. Lesion Harvester counts z from 0 within the
    sub-volume, LENS in file numbers of the series, inclusive. Which of its two sets a LENS file gives is
    ``split``'s choice ("val" or "test"); Lesion Harvester's hold only one.

    Raises:
        InputError: unreadable, not of these layouts, a slice outside its sub-volume, an unsafe pickle.
    """
    path = Path(path)
    content = _load(path)
    if not isinstance(content, dict):
        raise InputError(f"{path.name} holds no dict of sub-volumes; expected {_LAYOUTS}.")
    # an empty file is what a phantom without patients in that split leaves
    lens = bool(content) and set(content) <= {"val", "test"}
    if lens:
        key = {"validation": "val", "test": "test"}[split]
        if key not in content:
            raise InputError(f"{path.name} holds no set '{key}'; hand in the LENS file that has it.")
        content = content[key]
    boxes: dict[SubVolumeName, np.ndarray] = {}
    try:
        for text, entry in content.items():
            name = parse_sub_volume(str(text).removesuffix(".annot"))
            boxes[name] = _lens_boxes(entry) if lens else _harvester_boxes(entry, name.low)
    except InputError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path.name} is not in a known layout ({error}); expected {_LAYOUTS}.") from error
    for name, box in boxes.items():
        if ((box[:, 2] < name.low) | (box[:, 5] > name.high + 1)).any():
            raise InputError(
                f"{path.name} has a box outside the slices of {name}; expected z within them, counted "
                f"{'in file numbers' if lens else 'from 0 at the first slice'}."
            )
        if (box[:, 3:] <= box[:, :3]).any():
            raise InputError(
                f"{path.name} has an empty or inverted box in {name}; expected x1 < x2, y1 < y2, z1 <= z2."
            )
    return CompleteAnnotations("LENS" if lens else "Lesion Harvester", boxes)


def complete_records(
    complete: CompleteAnnotations, rows: LesionRows, *, dataset: str = "deeplesion", allow_missing: bool = False
) -> tuple[list[Record], list[str]]:
    """Records with every lesion on one slice: its key slice, or the middle one of a 3D box (kept as ``extent``).

    Spacing and size come from ``rows`` by sub-volume, else by series. Where a box is also an original mark of
    ``rows``, its lesion type is taken over. Boxes are clipped to the image.

    Returns:
        the records in order of the file, empty sub-volumes included; and warnings.

    Raises:
        InputError: a sub-volume's series is not in ``rows`` (left out with ``allow_missing``), a box wholly
            outside the image.
    """
    geometry = sub_volume_geometry(rows)
    by_series = {name.series_id: found for name, found in geometry.items()}
    marks: dict[tuple[str, int], list[int]] = {}
    for i in range(len(rows)):
        marks.setdefault((rows.series_id[i], int(rows.key_slice[i])), []).append(i)
    records: list[Record] = []
    unknown: list[SubVolumeName] = []
    for name, boxes in complete.boxes.items():
        found = geometry.get(name) or by_series.get(name.series_id)
        if found is None:
            unknown.append(name)
            continue
        record = new_record(name, found, dataset)
        plane, _, unusable = clip_to_image(boxes[:, [0, 1, 3, 4]], np.array(found.size))
        if unusable.any():
            raise InputError(
                f"A box in {name} lies wholly outside its {found.size[0]} x {found.size[1]} px image; correct the file."
            )
        for box, (z1, z2) in zip(plane, boxes[:, [2, 5]]):
            middle = int(z1 + z2 - 1) // 2
            here = [
                i for i in marks.get((name.series_id, middle), []) if np.abs(rows.box[i] - box).max() < _SAME_BOX_PX
            ]
            annotation = Annotation(
                slice=middle,
                box=[float(v) for v in box],
                label=1,
                kind="lesion",
                lesion_type=int(rows.lesion_type[here[0]]) if here else UNKNOWN_TYPE,
                noisy=False,
            )
            if complete.source == "LENS":
                annotation["extent"] = [float(v) for v in (box[0], box[1], z1, box[2], box[3], z2)]
            record["annotations"].append(annotation)
        records.append(record)
    if not unknown:
        return records, []
    told = (
        f"{len(unknown)} of {len(complete.boxes)} completely annotated sub-volumes belong to series "
        "without a usable row in the label table"
    )
    if not allow_missing:
        raise InputError(
            f"{told}, the first of them {unknown[0]}; use the whole DL_info.csv, "
            "or pass --allow-missing to leave them out."
        )
    return records, [f"{told} and were left out."]


def _load(path: Path) -> Any:
    """JSON where the file begins like JSON, else a pickle."""
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip()
        if start[:1] not in (b"{", b"["):
            return read_pickle(path)
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The annotation file {path} cannot be read ({error.strerror}); check its name.") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path.name} is not valid JSON; the file seems cut off, download it again.") from error


def _lens_boxes(entry: Any) -> np.ndarray:
    """[N, 6] inclusive (x1, y1, z1, x2, y2, z2) -> half-open."""
    rows = _rows(entry, 6)
    _whole(rows[:, [2, 5]])
    plane = half_open_box(rows[:, [0, 1, 3, 4]])
    return np.column_stack([plane[:, :2], rows[:, 2], plane[:, 2:], rows[:, 5] + 1])


def _harvester_boxes(entry: Any, low: int) -> np.ndarray:
    """(z, x1, y1, x2, y2), z from 0 in the sub-volume, -> half-open (x1, y1, z1, x2, y2, z2) in file numbers."""
    rows = _rows(list(_flat(entry)) if isinstance(entry, dict) else entry, 5)
    _whole(rows[:, 0])
    plane = half_open_box(rows[:, 1:])
    z = rows[:, 0] + low
    return np.column_stack([plane[:, :2], z, plane[:, 2:], z + 1])


def _flat(slices: dict[Any, Any]) -> Iterator[list[float]]:
    """The published pickle's {z: [[x1, y1, x2, y2, z, z], ...]} as rows (z, x1, y1, x2, y2)."""
    for z, boxes in slices.items():
        for x1, y1, x2, y2, first, last in boxes:
            if not z == first == last:
                raise ValueError(f"a box filed under slice {z} says slices {first} and {last}")
            yield [z, x1, y1, x2, y2]


def _rows(entry: Any, count: int) -> np.ndarray:
    if len(entry) == 0:
        return np.zeros((0, count))
    rows = np.asarray(entry, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != count:
        raise ValueError(f"found boxes of shape {rows.shape}, not N x {count}")
    if not np.isfinite(rows).all():
        raise ValueError("found a box that is not finite")
    return rows


def _whole(z: np.ndarray) -> None:
    if (z != np.floor(z)).any():
        raise ValueError("found a slice number that is not whole")
