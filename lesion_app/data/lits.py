"""LiTS: NIfTI volumes with masks of the liver (1) and its tumours (2).

Bilic et al., "The Liver Tumor Segmentation Benchmark (LiTS)", Med. Image Anal. 84, 2023 (arXiv 1901.04056, 2019).
131 training scans have masks, ``volume-0.nii`` with ``segmentation-0.nii`` to number 130; a few have no tumour.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lesion_app.data.mask_lesions import lesions_of_mask, mask_on_network_grid
from lesion_app.data.volume_case import FoundLesions, VolumeCase, VolumeCases
from lesion_app.errors import InputError
from transforms.geometry import VolumeGeometry

LIVER = 4
TUMOUR = 2
_VOLUME = re.compile(r"(volume|segmentation)-(\d+)\.nii(?:\.gz)?")


@dataclass(frozen=True)
class TumourMask:
    """The tumours of one scan: 26-connected parts of label 2, those below ``min_voxels`` left out."""

    path: Path
    min_voxels: int

    def __call__(self, geometry: VolumeGeometry) -> FoundLesions:
        """Boxes of the tumours on the CT's network grid; errors of `mask_on_network_grid`."""
        mask, notes = mask_on_network_grid(self.path, geometry)
        if geometry.spacing_mm == (1.0, 1.0, 1.0):
            notes.append("the header of the CT states 1 mm in every axis, as LiTS's stand-in headers do")
        return FoundLesions(lesions_of_mask(mask, (TUMOUR,), LIVER, self.min_voxels), notes)


def read_lits(source: Path, *, allow_missing: bool = False, min_voxels: int = 1) -> VolumeCases:
    """List the scans of LiTS that have a mask; nothing is opened.

    Args:
        source: folder below which ``volume-<n>.nii[.gz]`` and ``segmentation-<n>.nii[.gz]`` lie, together or in folders
            of their own (LiTS comes as two batches). ``test-volume-<n>.nii`` has no mask and is passed over.
        allow_missing: leave out volumes without their mask instead of failing.
        min_voxels: tumours of fewer voxels are left out; LENS states no such rule, so 1.

    Returns:
        scans by number, ``series_id`` ``lits-<nnn>``; every scan is its own patient.

    Raises:
        InputError: no volume, one number twice, a volume without mask.
    """
    source = Path(source)
    found: dict[str, dict[int, Path]] = {"volume": {}, "segmentation": {}}
    for path in sorted(source.rglob("*.nii*")) if source.is_dir() else ():
        match = _VOLUME.fullmatch(path.name)
        if match is None:
            continue
        files, number = found[match[1]], int(match[2])
        if number in files:
            raise InputError(
                f"{match[1]} {number} was found twice ({files[number].name} and {path.name}); expected it once, so "
                "remove one of them"
            )
        files[number] = path
    volumes, masks = found["volume"], found["segmentation"]
    if not volumes:
        raise InputError(
            f"{source} holds no volume-<n>.nii or volume-<n>.nii.gz; expected LiTS's training batches, so unpack them "
            "there"
        )
    bare = sorted(set(volumes) - set(masks))
    warnings = []
    if bare:
        told = f"{len(bare)} of {len(volumes)} volumes have no segmentation"
        if not allow_missing:
            raise InputError(
                f"{told}, the first of them {volumes[bare[0]].name}; unpack the segmentations too, or pass "
                "--allow-missing to leave those volumes out."
            )
        warnings.append(f"{told} and were left out.")
    cases = [
        VolumeCase(f"lits-{number:03d}", f"lits-{number:03d}", path, TumourMask(masks[number], min_voxels))
        for number, path in sorted(volumes.items())
        if number in masks
    ]
    return VolumeCases(cases, warnings)
