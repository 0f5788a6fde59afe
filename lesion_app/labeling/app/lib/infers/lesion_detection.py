"""Detection for 3D Slicer: ROI markups with scores and types."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.utils.others.generic import device_list, name_to_device

from lesion_app.labeling.labelled_volumes import dicom_behind
from lesion_app.labeling.roi_markups import write_markups
from lesion_app.labeling.volume_finder import VolumeFinder

DOCUMENT = "lesions"


class LesionDetection(InferTask):
    """Whole volume in, boxes out.

    The file part of the answer is a markups JSON. The JSON part tells ``annotations`` (``box`` = centre and size,
    ``label``, ``score``; LPS mm) and, for the app, the document of ``lesions.json`` under ``lesions``.

    Args:
        finder: looks at volumes; shared with all other tasks.
    """

    def __init__(self, finder: VolumeFinder) -> None:
        super().__init__(
            type=InferType.DETECTION,
            labels={name: number for number, name in enumerate(finder.type_names)},
            dimension=3,
            description="Lesions of every type in CT, as boxes with scores",
            config={"min_score": finder.min_score, "device": device_list()},
        )
        self.finder = finder

    def is_valid(self) -> bool:
        """Whether there is a model to look with."""
        return self.finder.weights.is_file()

    def __call__(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Find the lesions of ``request["image"]`` (a path; ``min_score``, ``device`` and ``result_write_to_file``
        may be given); InputError as ``VolumeFinder.find``."""
        began = time.monotonic()
        document = self.look(request)
        answer = self.told(document, began)
        return self.written(document, request), answer

    def look(self, request: dict[str, Any]) -> dict[str, Any]:
        """The document of the lesions found."""
        device = name_to_device(request.get("device"))
        return self.finder.find(dicom_behind(Path(request["image"])), request.get("min_score"), device)

    def told(self, document: dict[str, Any], began: float) -> dict[str, Any]:
        """The JSON part of the answer."""
        rois = self.finder.rois(document)
        return {
            "annotations": [
                {"box": [*roi.centre, *roi.size], "label": roi.type_name, "score": roi.score} for roi in rois
            ],
            "box_mode": "cccwhd",
            "coordinate_system": "LPS",
            "units": "mm",
            "model_version": document["model"]["sha256"],
            "label_names": self.labels,
            "latencies": {"total": round(time.monotonic() - began, 2)},
            "centroids": {},
            DOCUMENT: document,
        }

    def written(self, document: dict[str, Any], request: dict[str, Any]) -> str | None:
        """The file part of the answer; the server removes it when it is sent."""
        if not request.get("result_write_to_file", True):
            return None
        with tempfile.NamedTemporaryFile(suffix=".json", delete=False) as file:
            path = Path(file.name)
        return str(write_markups(path, self.finder.rois(document)))
