"""A phantom scan in LiTS's layout: NIfTI volume and mask with liver 1 and tumour 2."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from lesion_app.data.lits import TUMOUR
from lesion_app.data.phantom_collections.scan import PhantomScan

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def series_id(index: int) -> str:
    """What `read_lits` calls the scan."""
    return f"lits-{index:03d}"


def write_scan(scan: PhantomScan, folder: Path, index: int) -> None:
    """Write ``volume-<n>.nii`` and ``segmentation-<n>.nii``.

    Odd scans are stored along RAS instead of LPS axes; every seventh mask has an identity matrix for a header. LiTS
    has both quirks.
    """
    affine = _LPS_TO_RAS @ np.diag([*scan.phantom.spacing_mm, 1.0])
    affine[:3, 3] = (_LPS_TO_RAS @ np.array([*scan.first_corner_mm, 1.0]))[:3]
    mask = scan.liver().astype(np.uint8)
    mask[scan.node_mask() > 0] = TUMOUR
    folder.mkdir(parents=True, exist_ok=True)
    for name, voxels in (("volume", scan.voxels()), ("segmentation", mask)):
        image = nibabel.Nifti1Image(np.ascontiguousarray(voxels.transpose(2, 1, 0)), affine)
        if index % 2:
            image = nibabel.as_closest_canonical(image)
        if name == "segmentation" and index % 7 == 6:
            image = nibabel.Nifti1Image(np.asarray(image.dataobj), np.eye(4))
        nibabel.save(image, folder / f"{name}-{index}.nii")
