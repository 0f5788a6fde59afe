"""A whole CT scan of another data set with its 3D lesions, before it becomes slices and a record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lesion_app.data.record import Kind
from transforms.geometry import VolumeGeometry


@dataclass(frozen=True)
class VolumeLesion:
    """One lesion on the network grid of its CT (`VolumeGeometry`: z ascending to superior).

    Args:
        slices: [N] int64 slice indices, strictly increasing, N >= 1.
        boxes: [N, 4] float64 (x1, y1, x2, y2) px, half-open, one a slice.
        extent: (x1, y1, z1, x2, y2, z2) px and slice indices, half-open.
        lesion_type: DeepLesion's 1..8.
        label: class, from 1, where the data set has several.
        kind: ``lesion``, or ``ignore`` for a region that is neither lesion nor background.
    """

    slices: np.ndarray
    boxes: np.ndarray
    extent: tuple[float, float, float, float, float, float]
    lesion_type: int
    label: int = 1
    kind: Kind = "lesion"


@dataclass(frozen=True)
class FoundLesions:
    """The lesions of one CT, and sentences on what had to be assumed to find them."""

    lesions: list[VolumeLesion]
    notes: list[str] = field(default_factory=list)


FindLesions = Callable[[VolumeGeometry], FoundLesions]
"""Reads the labels of one CT onto the CT's network grid; picklable, processes of a pool call it."""
FindMask = Callable[[VolumeGeometry], np.ndarray]
"""Reads the voxels of one CT's lesions on the network grid, [Z, H, W] integers, k for the k-th that `FindLesions` gives
(from 1), 0 elsewhere; picklable as well."""


@dataclass(frozen=True)
class VolumeCase:
    """One scan of a data set.

    Args:
        series_id: its name in records and folders: letters, digits and hyphens.
        patient_id: whose it is; splits are by patient.
        image: what `transforms.open_ct` reads.
        find_lesions: reads its labels.
        fold: the data set's own fold, where it has folds.
        find_mask: reads its masks, where they are to be written beside the slices.
    """

    series_id: str
    patient_id: str
    image: Path
    find_lesions: FindLesions
    fold: int | None = None
    find_mask: FindMask | None = None


@dataclass(frozen=True)
class VolumeCases:
    """All scans of a data set by ``series_id``, and what to know about them."""

    cases: list[VolumeCase]
    warnings: list[str] = field(default_factory=list)
