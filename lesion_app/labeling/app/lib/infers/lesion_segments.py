"""The detector for viewers that show no boxes (OHIF's MONAI Label panel lists segmentation models only)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferType

from lesion_app.errors import InputError
from lesion_app.labeling.app.lib.infers.lesion_detection import LesionDetection
from lesion_app.labeling.box_masks import paint_ellipsoids, write_mask
from lesion_app.labeling.labelled_volumes import dicom_behind
from lesion_app.labeling.volume_finder import VolumeFinder
from transforms.ct_reader import open_ct

_FORMATS = (".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha")


class LesionSegments(LesionDetection):
    """The same lesions, each box painted as the ellipsoid inside it; labels are the types, from 1."""

    def __init__(self, finder: VolumeFinder) -> None:
        super().__init__(finder)
        self.type = InferType.SEGMENTATION
        self.labels = {name: number for number, name in enumerate(finder.type_names, start=1)}
        self.description = "Lesions of every type in CT, boxes painted as ellipsoids"

    def written(self, document: dict[str, Any], request: dict[str, Any]) -> str | None:
        """A label volume on the voxels of the image, in the format of ``result_extension``."""
        if not request.get("result_write_to_file", True):
            return None
        suffix = str(request.get("result_extension") or ".nii.gz")
        if suffix not in _FORMATS:
            raise InputError(f"results are written as {', '.join(_FORMATS)}; ask for one of these")
        # the viewer has the file of the request, whose voxel order may differ from the DICOM series behind it
        path = Path(request["image"])
        geometry = open_ct(path if path.is_file() else dicom_behind(path)).geometry
        values = [min(int(entry["label"]), 255) for entry in document["lesions"]]
        volume = paint_ellipsoids(self.finder.rois(document), geometry, values)
        with tempfile.NamedTemporaryFile(suffix=suffix, delete=False) as file:
            made = Path(file.name)
        return str(write_mask(made, volume, geometry))
