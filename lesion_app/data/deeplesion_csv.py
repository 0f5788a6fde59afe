"""``DL_info.csv`` of DeepLesion as columns of numbers, checked row by row.

Yan et al., "DeepLesion: automated mining of large-scale lesion annotations and universal lesion
detection with deep learning", J. Med. Imaging 5(3), 2018; the meaning of the columns is NIH's.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from lesion_app.data.record import UNKNOWN_TYPE
from lesion_app.errors import InputError

REQUIRED_COLUMNS = (
    "File_name",
    "Key_slice_index",
    "Bounding_boxes",
    "Coarse_lesion_type",
    "Possibly_noisy",
    "Slice_range",
    "Spacing_mm_px_",
    "Image_size",
    "Train_Val_Test",
)
OFFICIAL_SPLITS = {1: "training", 2: "validation", 3: "test"}

_FILE_NAME = re.compile(r"(?P<series>\w[\w-]*)_(?P<slice>\d+)\.png")


@dataclass(frozen=True)
class LesionRows:
    """One lesion a row, N rows.

    Args:
        file_name: N published file names (``000001_01_01_109.png``).
        series_id: N series (``000001_01_01``, also the folder of the PNGs).
        key_slice: [N] int, file number of the slice with the mark.
        box: [N, 4] float, (x1, y1, x2, y2) px, 0-based half-open, clipped to the image.
        clipped: [N] bool, whether the published box left the image.
        lesion_type: [N] int, 1..8 (bone, abdomen, mediastinum, liver, lung, kidney, soft tissue, pelvis) or -1.
        noisy: [N] bool, ``Possibly_noisy``.
        slices: [N, 2] int, first and last file number of the sub-volume, inclusive.
        spacing_mm: [N, 3] float (x, y, z) as published: z may be negative, zero or NaN.
        size: [N, 2] int (width, height) px.
        split: [N] int, 1 training, 2 validation, 3 test.
    """

    file_name: list[str]
    series_id: list[str]
    key_slice: np.ndarray
    box: np.ndarray
    clipped: np.ndarray
    lesion_type: np.ndarray
    noisy: np.ndarray
    slices: np.ndarray
    spacing_mm: np.ndarray
    size: np.ndarray
    split: np.ndarray

    def __len__(self) -> int:
        return len(self.file_name)


def half_open_box(boxes: np.ndarray) -> np.ndarray:
    """DeepLesion's 1-based inclusive (x1, y1, x2, y2) -> 0-based half-open (x1 - 1, y1 - 1, x2, y2); [..., 4] px."""
    return np.asarray(boxes, dtype=np.float64) - np.array([1.0, 1.0, 0.0, 0.0])


def clip_to_image(boxes: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clip half-open boxes [N, 4] px to images of ``size`` [N, 2] or [2] (width, height).

    Returns:
        the clipped boxes [N, 4]; [N] bool, changed by it; [N] bool, unusable: nothing is left, or the box
        was not finite or inverted before.
    """
    limit = np.broadcast_to(np.concatenate([size, size], axis=-1), boxes.shape)
    clipped = np.clip(boxes, 0.0, limit)
    unusable = ~np.isfinite(boxes).all(axis=1) | (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
    return clipped, (clipped != boxes).any(axis=1) & ~unusable, unusable


def read_deeplesion_csv(path: Path) -> LesionRows:
    """Read and check the label table of DeepLesion; no image is touched.

    Further columns are allowed and left alone. Boxes beyond the border are clipped; NaN, zero and
    negative spacings are passed on for the record builder to judge.

    Raises:
        InputError: the file cannot be read, lacks columns or rows, or a row (named by its file and line)
            holds something else than its column should, a box wholly outside its image included.
    """
    path = Path(path)
    header, rows, lines = _read_table(path)
    missing = [c for c in REQUIRED_COLUMNS if c not in header]
    if missing:
        raise InputError(
            f"{path.name} lacks the column(s) {', '.join(missing)}; expected the DL_info.csv published with "
            "DeepLesion, with its 18 columns unchanged."
        )
    if not rows:
        raise InputError(f"{path.name} holds a header but no rows; download DL_info.csv of DeepLesion again.")
    where = {name: header.index(name) for name in REQUIRED_COLUMNS}
    cells = {name: [row[i].strip() for row in rows] for name, i in where.items()}
    files = cells["File_name"]

    def fail(row: int, found: str, expected: str) -> NoReturn:
        raise InputError(
            f"{path.name}, line {lines[row]} ({files[row]}): {found}, expected {expected}; mend or remove that line."
        )

    def check(bad: Any, column: str, expected: str) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            fail(row, f"{column} is '{cells[column][row]}'", expected)

    def numbers(column: str, count: int) -> np.ndarray:
        return _numbers(
            cells[column], count, lambda row, expected: fail(row, f"{column} is '{cells[column][row]}'", expected)
        )

    names = [_FILE_NAME.fullmatch(name) for name in files]
    check(np.array([m is None for m in names]), "File_name", "<patient>_<study>_<series>_<slice>.png")
    series = [m["series"] for m in names if m is not None]
    slice_of_name = np.array([int(m["slice"]) for m in names if m is not None])

    def integers(column: str, count: int) -> np.ndarray:
        values = numbers(column, count)
        whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**31)
        check(~whole.all(axis=1), column, f"{count} whole number{'s' if count > 1 else ''}")
        return values.astype(np.int64)

    key_slice = integers("Key_slice_index", 1)[:, 0]
    check(key_slice != slice_of_name, "Key_slice_index", "the slice number in File_name")
    slices = integers("Slice_range", 2)
    inside = (slices[:, 0] >= 0) & (slices[:, 0] <= key_slice) & (key_slice <= slices[:, 1])
    check(~inside, "Slice_range", "first and last slice with the key slice between them")
    size = integers("Image_size", 2)
    check((size <= 0).any(axis=1), "Image_size", "a positive width and height in px")
    noisy = integers("Possibly_noisy", 1)[:, 0]
    check(~np.isin(noisy, (0, 1)), "Possibly_noisy", "0 or 1")
    split = integers("Train_Val_Test", 1)[:, 0]
    check(~np.isin(split, tuple(OFFICIAL_SPLITS)), "Train_Val_Test", "1 (train), 2 (validation) or 3 (test)")

    lesion_type = np.nan_to_num(numbers("Coarse_lesion_type", 1)[:, 0], nan=UNKNOWN_TYPE)
    check(~np.isin(lesion_type, (UNKNOWN_TYPE, *range(1, 9))), "Coarse_lesion_type", "1 to 8, or -1 when unknown")

    box, clipped, unusable = clip_to_image(half_open_box(numbers("Bounding_boxes", 4)), size)
    check(unusable, "Bounding_boxes", "x1, y1, x2, y2 with x1 < x2 and y1 < y2, at least in part inside the image")

    return LesionRows(
        file_name=files,
        series_id=series,
        key_slice=key_slice,
        box=box,
        clipped=clipped,
        lesion_type=lesion_type.astype(np.int64),
        noisy=noisy.astype(bool),
        slices=slices,
        spacing_mm=numbers("Spacing_mm_px_", 3),
        size=size,
        split=split,
    )


def _read_table(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows and the line of the file each row ended on."""
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        # utf-8-sig: spreadsheet programs put a byte-order mark before the first column's name
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            for row in reader:
                if not row:
                    continue
                if len(row) < len(header):
                    raise InputError(
                        f"{path.name}, line {reader.line_num} holds {len(row)} fields, expected {len(header)}; "
                        "the file seems cut off, download it again."
                    )
                rows.append(row)
                lines.append(reader.line_num)
    except FileNotFoundError as error:
        raise InputError(
            f"The label table {path} does not exist; put DL_info.csv of DeepLesion there or correct the folder."
        ) from error
    except OSError as error:
        raise InputError(
            f"The label table {path} cannot be read ({error.strerror}); check that it is a readable file."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path.name} is not a readable CSV file; expected the DL_info.csv published with DeepLesion."
        ) from error
    return header, rows, lines


def _numbers(cells: list[str], count: int, fail: Callable[[int, str], NoReturn]) -> np.ndarray:
    """Comma-separated cells -> [N, count] float; an empty or NaN entry becomes NaN."""
    expected = f"{count} numbers separated by commas" if count > 1 else "a number"
    parts = [_split(cell, count) for cell in cells]
    wrong = next((row for row, part in enumerate(parts) if len(part) != count), None)
    if wrong is not None:
        fail(wrong, expected)
    try:
        return np.array(parts, dtype=np.float64)
    except ValueError:
        # the fast path does not say which row it was
        for row, part in enumerate(parts):
            try:
                np.array(part, dtype=np.float64)
            except ValueError:
                fail(row, expected)
        raise


def _split(cell: str, count: int) -> list[str]:
    if cell.lower() in ("", "nan"):
        return ["nan"] * count
    return [part.strip() or "nan" for part in cell.split(",")]
