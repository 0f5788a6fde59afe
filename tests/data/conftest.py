"""Small folders in DeepLesion's layout; their PNGs are empty files."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest

COLUMNS = [
    "File_name",
    "Patient_index",
    "Study_index",
    "Series_ID",
    "Key_slice_index",
    "Measurement_coordinates",
    "Bounding_boxes",
    "Lesion_diameters_Pixel_",
    "Normalized_lesion_location",
    "Coarse_lesion_type",
    "Possibly_noisy",
    "Slice_range",
    "Spacing_mm_px_",
    "Image_size",
    "DICOM_windows",
    "Patient_gender",
    "Patient_age",
    "Train_Val_Test",
]


def row(
    file_name: str,
    box: str = "101, 51, 120, 80",
    slices: str = "1, 12",
    split: int = 1,
    spacing: str = "0.8, 0.8, 5",
    size: str = "512, 512",
    **columns: object,
) -> dict[str, str]:
    """One lesion row; ``columns`` overrides any of the 18."""
    patient, study, series, number = file_name.removesuffix(".png").split("_")
    values: dict[str, object] = {
        "File_name": file_name,
        "Patient_index": int(patient),
        "Study_index": int(study),
        "Series_ID": int(series),
        "Key_slice_index": int(number),
        "Measurement_coordinates": "106, 56, 115, 75, 107, 60, 112, 61",
        "Bounding_boxes": box,
        "Lesion_diameters_Pixel_": "20, 10",
        "Normalized_lesion_location": "0.4, 0.3, 0.5",
        "Coarse_lesion_type": -1 if split == 1 else 5,
        "Possibly_noisy": 0,
        "Slice_range": slices,
        "Spacing_mm_px_": spacing,
        "Image_size": size,
        "DICOM_windows": "-175, 275",
        "Patient_gender": "F",
        "Patient_age": 62,
        "Train_Val_Test": split,
    }
    return {key: str(value) for key, value in {**values, **columns}.items()}


def write_table(path: Path, rows: list[dict[str, str]], columns: list[str] = COLUMNS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_folder(root: Path, rows: list[dict[str, str]]) -> Path:
    """``DL_info.csv`` and a PNG for every slice of every range."""
    root.mkdir(parents=True, exist_ok=True)
    write_table(root / "DL_info.csv", rows)
    for entry in rows:
        folder = root / "Images_png" / entry["File_name"].rsplit("_", 1)[0]
        folder.mkdir(parents=True, exist_ok=True)
        low, high = map(int, entry["Slice_range"].split(","))
        for number in range(low, high + 1):
            (folder / f"{number:03d}.png").touch()
    return root


@pytest.fixture(scope="session")
def deeplesion_layout() -> SimpleNamespace:
    """``row(...)``, ``write_table(path, rows)``, ``write_folder(root, rows)`` and ``COLUMNS``."""
    return SimpleNamespace(row=row, write_table=write_table, write_folder=write_folder, COLUMNS=COLUMNS)
