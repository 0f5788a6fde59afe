"""Which CTs an inference run looks at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lesion_app.errors import InputError

_FILES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".dcm")


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
    """Items of all CTs in ``folder``: its CT files, and its sub-folders as DICOM series.

    Raises:
        InputError: when there is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; expected one that holds CT files or DICOM series folders")
    found = [p for p in sorted(folder.iterdir()) if p.is_dir() or p.name.lower().endswith(_FILES)]
    if not found:
        raise InputError(
            f"no CT found in {folder}; expected {', '.join(_FILES)} files or folders with a DICOM series each"
        )
    return [ct_item(path) for path in found]
