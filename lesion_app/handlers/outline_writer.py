"""Writes the lesions' voxels beside ``lesions.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lesion_app.boxes.outlined_tracklet import OutlinedTracklet
from lesion_app.boxes.tracklet import Tracklet
from lesion_app.handlers.lesion_writer import LesionWriter
from lesion_app.inferers.lesion_masks import LESION_MASKS, write_lesion_masks


class OutlineWriter(LesionWriter):
    """:class:`~lesion_app.handlers.lesion_writer.LesionWriter` that adds ``lesion_masks.nii.gz`` where the detector
    gives masks: a label map on the axial grid, the value of a voxel being the id of its lesion. One of an earlier run
    is removed where it does not. Arguments and errors as there.
    """

    def write(self, item: dict[str, Any], lesions: list[Tracklet]) -> Path:
        """Write the results of one item; returns their folder."""
        folder = super().write(item, lesions)
        if any(isinstance(lesion, OutlinedTracklet) and lesion.outlines for lesion in lesions):
            write_lesion_masks(lesions, item["geometry"], folder / LESION_MASKS)
        else:
            (folder / LESION_MASKS).unlink(missing_ok=True)
        return folder
