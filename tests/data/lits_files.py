"""LiTS in its published format, made up."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from tests.data.marked_volume import SPACING


def write_lits(
    folder: Path, number: int, volume: np.ndarray, mask: np.ndarray, suffix: str = ".nii", **affines
) -> Path:
    """Arrays [z, y, x] on the network grid; ``volume_affine`` and ``mask_affine`` pick the header (RAS)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (("volume", volume), ("segmentation", mask)):
        affine = affines.get(f"{name}_affine", np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0]))
        stored = data.transpose(2, 1, 0)  # x to the left, y posterior, z superior
        nibabel.save(nibabel.Nifti1Image(stored, affine), folder / f"{name}-{number}{suffix}")
    return folder
