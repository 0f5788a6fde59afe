"""A scan and its 3D lesions -> a record of DeepLesion-like slices."""

from __future__ import annotations

import numpy as np

from lesion_app.data.deeplesion import Geometry, new_record
from lesion_app.data.record import Annotation, Record, SubVolumeName
from lesion_app.data.volume_case import VolumeCase, VolumeLesion


def record_of_case(
    case: VolumeCase,
    lesions: list[VolumeLesion],
    geometry: Geometry,
    depth: int,
    dataset: str,
    padding_px: float = 0.0,
) -> Record:
    """A scan's record: its slices numbered 1 (head) to ``depth`` (feet), every lesion's box on every slice it touches.

    Args:
        lesions: on the network grid (z from feet to head).
        geometry: spacing and size of the slices.
        padding_px: added to every side; boxes are clipped to the image.
    """
    record = new_record(SubVolumeName(case.series_id, 1, depth), geometry, dataset)
    record["patient_id"] = case.patient_id
    width, height = geometry.size
    pad = np.array([-padding_px, -padding_px, padding_px, padding_px])
    limit = np.array([width, height, width, height], dtype=np.float64)
    for number, lesion in enumerate(lesions):
        x1, y1, z1, x2, y2, z2 = lesion.extent
        low_x, low_y, high_x, high_y = np.clip(np.array([x1, y1, x2, y2]) + pad, 0.0, limit).tolist()
        boxes = np.clip(lesion.boxes + pad, 0.0, limit).round(3)
        for z, box in sorted(zip(lesion.slices.tolist(), boxes.tolist()), key=lambda pair: -pair[0]):
            record["annotations"].append(
                Annotation(
                    slice=depth - z,
                    box=box,
                    label=lesion.label,
                    kind=lesion.kind,
                    lesion_type=lesion.lesion_type,
                    noisy=False,
                    extent=[low_x, low_y, depth - z2 + 1, high_x, high_y, depth - z1 + 1],
                    lesion=number,
                )
            )
    return record
