"""NIH lymph nodes (TCIA "CT Lymph Nodes"): DICOM series and masks in which every node has its own number.

Roth et al., "A new 2.5D representation for lymph node detection using random sets of deep convolutional neural network
observations", MICCAI 2014; masks by Seff et al., MICCAI 2015. 388 mediastinal nodes of 90 patients (``MED_LYMPH_001``
...) and 595 abdominal ones of 86 (``ABD_LYMPH_001`` ...).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lesion_app.data.mask_lesions import lesions_of_mask, mask_on_network_grid
from lesion_app.data.volume_case import FoundLesions, VolumeCase, VolumeCases
from lesion_app.errors import InputError
from transforms.geometry import VolumeGeometry

ABDOMEN, MEDIASTINUM = 2, 3
MASKS = "MED_ABD_LYMPH_MASKS"
_PATIENT = re.compile(r"(ABD|MED)_LYMPH_\d+")
_NOT_IMAGES = re.compile(r"MED_ABD_LYMPH_(MASKS|ANNOTATIONS|CANDIDATES)")


@dataclass(frozen=True)
class NodeMask:
    """The nodes of one scan: each number of the mask, and of it each 26-connected part, is a lesion."""

    path: Path
    lesion_type: int

    def __call__(self, geometry: VolumeGeometry) -> FoundLesions:
        """Boxes of the nodes on the CT's network grid; errors of `mask_on_network_grid`."""
        mask, notes = mask_on_network_grid(self.path, geometry)
        numbers = [int(value) for value in np.unique(mask) if value > 0]
        return FoundLesions(lesions_of_mask(mask, numbers, self.lesion_type), notes)


def read_nih_ln(source: Path, *, allow_missing: bool = False) -> VolumeCases:
    """List the patients of TCIA's "CT Lymph Nodes"; no image is opened.

    Args:
        source: folder with the patients as TCIA's downloaders lay them (``CT Lymph Nodes/ABD_LYMPH_001/<study>/
            <series>/*.dcm``, or ``ABD_LYMPH_001/...`` directly) and the unpacked ``MED_ABD_LYMPH_MASKS/ABD_LYMPH_001/
            ABD_LYMPH_001_mask.nii.gz``. The annotation and candidate texts of TCIA hold nothing that the masks lack and
            are not read.
        allow_missing: leave out patients without a mask instead of failing.

    Returns:
        patients by name, ``series_id`` ``ABD-LYMPH-001``; nodes of ``ABD`` are of type abdomen, of ``MED`` mediastinum.
        Of several series folders of a patient the one with the most files is taken.

    Raises:
        InputError: no patient, a patient without mask or with several.
    """
    source = Path(source)
    series: dict[str, tuple[int, Path]] = {}
    masks: dict[str, list[Path]] = {}
    for folder, _, files in sorted(os.walk(source)):
        place = Path(folder)
        parts = place.relative_to(source).parts
        patient = next((part for part in parts if _PATIENT.fullmatch(part)), None)
        if any(_NOT_IMAGES.fullmatch(part) for part in parts):
            if MASKS in parts:
                for name in sorted(files):
                    owner = patient or (m[0] if (m := _PATIENT.match(name)) else None)
                    if owner is not None and name.endswith((".nii", ".nii.gz")):
                        masks.setdefault(owner, []).append(place / name)
            continue
        images = [name for name in files if not name.startswith(".") and not name.endswith((".txt", ".csv", ".xml"))]
        if patient is not None and images and len(images) > series.get(patient, (0, place))[0]:
            series[patient] = (len(images), place)
    if not series:
        raise InputError(
            f"{source} holds no patient of 'CT Lymph Nodes'; expected folders such as ABD_LYMPH_001 and MED_LYMPH_001 "
            "with DICOM files, so download them from TCIA there"
        )
    several = sorted(patient for patient, found in masks.items() if len(found) > 1)
    if several:
        raise InputError(
            f"{several[0]} has {len(masks[several[0]])} masks in {MASKS}; expected one, so remove the others"
        )
    bare = sorted(set(series) - set(masks))
    warnings = []
    if bare:
        told = f"{len(bare)} of {len(series)} patients have no mask in {MASKS}"
        if not allow_missing:
            raise InputError(
                f"{told}, the first of them {bare[0]}; unpack {MASKS}.zip there, or pass --allow-missing to leave "
                "those patients out."
            )
        warnings.append(f"{told} and were left out.")
    cases = []
    for patient, (_, images_at) in sorted(series.items()):
        if patient in masks:
            kind = ABDOMEN if patient.startswith("ABD") else MEDIASTINUM
            name = patient.replace("_", "-")
            cases.append(VolumeCase(name, name, images_at, NodeMask(masks[patient][0], kind)))
    return VolumeCases(cases, warnings)
