"""Which CTs an inference run looks at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lesion_app.errors import InputError

CT_FILE_TYPES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


def ct_item(
    path: str | Path, spacing_mm: Sequence[float] | None = None, slices: Sequence[int] | None = None
) -> dict[str, Any]:
    """The item of one CT, as the inference config's preprocessing takes it.

    Args:
        path: CT file or folder.
        spacing_mm: (x, y, z), needed for PNG folders only.
        slices: first and last slice to look at, inclusive; None = all.
    """
    item: dict[str, Any] = {"image": str(path)}
    if spacing_mm is not None:
        item["spacing_mm"] = [float(v) for v in spacing_mm]
    if slices is not None:
        item["slices"] = [int(v) for v in slices]
    return item


def list_cts(folder: str | Path) -> list[dict[str, Any]]:
    """Items of all CTs in ``folder``: its CT files, its sub-folders, and itself when DICOM files lie in it.

    Hidden files and folders are passed over.

    Raises:
        InputError: when there is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; expected one that holds CT files or DICOM series folders")
    entries = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".")]
    found = [p for p in entries if p.is_dir() or p.name.lower().endswith(CT_FILE_TYPES)]
    if any(p.is_file() and p.suffix.lower() == ".dcm" for p in entries):
        found.insert(0, folder)  # its .dcm files are one series, not a CT each
    if not found:
        raise InputError(
            f"no CT found in {folder}; expected {', '.join(CT_FILE_TYPES)} files, .dcm files of one series, or folders "
            "with a DICOM series each"
        )
    return [ct_item(path) for path in found]
