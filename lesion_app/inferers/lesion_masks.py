"""The lesions' voxels as one label map beside ``lesions.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from lesion_app.atomic_file import replacing
from lesion_app.boxes.outlined_tracklet import OutlinedTracklet
from lesion_app.boxes.tracklet import Tracklet
from lesion_app.errors import InputError
from lesion_app.inferers.lesions_json import Geometry

LESION_MASKS = "lesion_masks.nii.gz"
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def lesion_label_map(lesions: Sequence[Tracklet], shape_zyx: Sequence[int]) -> np.ndarray:
    """Voxels of every lesion: uint16 ``[D, H, W]``, 0 = none, k = the lesion with id k in ``lesions.json``.

    Where lesions meet, the one of higher score has the voxel. A lesion without any outline is given by its boxes, one
    that others cover altogether by the middle pixel of its key slice, so that none is without a voxel.

    Args:
        lesions: those reported, in any order.
        shape_zyx: of the axial grid that they were found on.
    """
    labels = np.zeros(tuple(shape_zyx), dtype=np.uint16)
    for number, lesion in enumerate(sorted(lesions, key=lambda one: -one.score), start=1):
        outlines = lesion.outlines if isinstance(lesion, OutlinedTracklet) else {}
        for z, (x, y, mask) in (outlines or _box_outlines(lesion)).items():
            part = labels[z, y : y + mask.shape[0], x : x + mask.shape[1]]
            part[mask[: part.shape[0], : part.shape[1]] & (part == 0)] = number
        if not (labels == number).any():
            x1, y1, x2, y2 = lesion.boxes[lesion.slices.index(lesion.key_slice)]
            row, column = min(int((y1 + y2) / 2), labels.shape[1] - 1), min(int((x1 + x2) / 2), labels.shape[2] - 1)
            labels[lesion.key_slice, row, column] = number
    return labels


def write_lesion_masks(lesions: Sequence[Tracklet], geometry: Geometry, path: Path) -> Path:
    """Write the label map of ``lesions`` as NIfTI on the axial grid; returns the path.

    Raises:
        InputError: when the place cannot be written to.
    """
    labels = lesion_label_map(lesions, geometry.shape_zyx)
    image = nibabel.nifti1.Nifti1Image(labels.transpose(2, 1, 0), _LPS_TO_RAS @ np.asarray(geometry.affine_lps))
    try:
        with replacing(path) as temporary:
            nibabel.save(image, temporary)
    except OSError as error:
        raise InputError(
            f"masks cannot be written to {path.parent}: {error.strerror}; choose another folder"
        ) from error
    return path


def read_lesion_masks(path: Path, document: Mapping[str, Any]) -> np.ndarray:
    """The label map of :func:`write_lesion_masks`, int ``[D, H, W]``, for ``clinical.findings.write_findings``.

    Args:
        document: the content of the ``lesions.json`` beside it.

    Raises:
        InputError: not a NIfTI file, or one of another grid.
    """
    try:
        labels = np.asarray(nibabel.load(path).dataobj).transpose(2, 1, 0)  # type: ignore[attr-defined]
    except (OSError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise InputError(f"{path.name} cannot be read as NIfTI; run the detection again") from error
    expected = tuple(reversed(document["grid"]["size_xyz"]))
    if labels.shape != expected:
        raise InputError(
            f"{path.name} has the grid {labels.shape} where lesions.json has {expected}; give the two files of one run"
        )
    return labels.astype(np.int64)


def _box_outlines(lesion: Tracklet) -> dict[int, tuple[int, int, np.ndarray]]:
    found = {}
    for z, (x1, y1, x2, y2) in zip(lesion.slices, lesion.boxes):
        left, top = max(int(np.floor(x1)), 0), max(int(np.floor(y1)), 0)
        found[z] = left, top, np.ones((int(np.ceil(y2)) - top, int(np.ceil(x2)) - left), dtype=bool)
    return found
