"""Rows and truth of a made-up sub-volume in DeepLesion's conventions (DL_info.csv, NIH's README of DeepLesion)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesion_app.boxes.tracklet import Box2D
from lesion_app.data.phantom.outline import LesionTruth
from lesion_app.data.phantom.sub_volume import SubVolume

# fmt: off
COLUMNS = (
    "File_name", "Patient_index", "Study_index", "Series_ID", "Key_slice_index", "Measurement_coordinates",
    "Bounding_boxes", "Lesion_diameters_Pixel_", "Normalized_lesion_location", "Coarse_lesion_type", "Possibly_noisy",
    "Slice_range", "Spacing_mm_px_", "Image_size", "DICOM_windows", "Patient_gender", "Patient_age", "Train_Val_Test",
)
# fmt: on
"""The 18 columns of DL_info.csv, in order."""

SPLITS = ("train", "val", "test")
"""Split names; DL_info.csv writes them as 1, 2 and 3."""

TRUTH_CONVENTION = (
    "Boxes (x1, y1, x2, y2) in px, 0-based, half-open, x along columns; slices are file numbers of the series. key_box "
    "and slice_boxes are RECIST extents with DeepLesion's 5 px padding; extent (x1, y1, z1, x2, y2, z2) is the tight, "
    "unpadded box of the lesion, z half-open. Lesion types 1..8: bone, abdomen, mediastinum, liver, lung, kidney, soft "
    "tissue, pelvis. labelled: the lesion has a row in DL_info.csv."
)

_LUNG_WINDOW, _SOFT_WINDOW = "-1500, 500", "-175, 275"


def one_based(box: Box2D) -> Box2D:
    """0-based half-open box -> DeepLesion's 1-based inclusive one (the reverse of DESIGN's conversion)."""
    return box[0] + 1, box[1] + 1, box[2], box[3]


def csv_row(
    volume: SubVolume, lesion: LesionTruth, series: str, first: int, split: str, gender: str, age: int
) -> dict[str, str]:
    """One row of DL_info.csv; ``first`` is the file number of slice 0. The type is -1 in the training split."""
    patient, study, scan = series.split("_")
    recist, number = lesion.key, first + lesion.key_index
    return {
        "File_name": f"{series}_{number:03d}.png",
        "Patient_index": str(int(patient)),
        "Study_index": str(int(study)),
        "Series_ID": str(int(scan)),
        "Key_slice_index": str(number),
        "Measurement_coordinates": _numbers((recist.points + 1).ravel()),
        "Bounding_boxes": _numbers(one_based(recist.padded_box)),
        "Lesion_diameters_Pixel_": _numbers(recist.diameters_px),
        "Normalized_lesion_location": _numbers(volume.location(lesion)),
        "Coarse_lesion_type": str(-1 if split == "train" else lesion.type),
        "Possibly_noisy": "0",
        "Slice_range": f"{first}, {first + volume.count - 1}",
        "Spacing_mm_px_": _numbers(volume.spacing_mm),
        "Image_size": f"{volume.size}, {volume.size}",
        "DICOM_windows": _LUNG_WINDOW if lesion.type == 5 else _SOFT_WINDOW,
        "Patient_gender": gender,
        "Patient_age": str(age),
        "Train_Val_Test": str(SPLITS.index(split) + 1),
    }


def truth_of_sub_volume(
    volume: SubVolume,
    lesions: Sequence[LesionTruth],
    labelled: NDArray[np.bool_],
    series: str,
    first: int,
    split: str,
) -> dict[str, Any]:
    """Complete truth of a sub-volume as JSON-ready values, see `TRUTH_CONVENTION`."""
    pixel = volume.spacing_mm[0]
    return {
        "series_id": series,
        "patient_id": series.split("_")[0],
        "spacing_mm": list(volume.spacing_mm),
        "slices": [first, first + volume.count - 1],
        "split": split,
        "lesions": [
            {
                "lesion_id": index,
                "type": lesion.type,
                "labelled": bool(labelled[index]),
                "key_slice": first + lesion.key_index,
                "key_box": list(lesion.key.padded_box),
                "slice_boxes": {
                    str(first + z): list(recist.padded_box) for z, recist in sorted(lesion.recists.items())
                },
                "extent": [v + (first if axis in (2, 5) else 0) for axis, v in enumerate(lesion.extent)],
                "long_diameter_mm": round(lesion.key.diameters_px[0] * pixel, 3),
                "short_diameter_mm": round(lesion.key.diameters_px[1] * pixel, 3),
                "volume_mm3": round(lesion.volume_mm3, 2),
            }
            for index, lesion in enumerate(lesions)
        ],
    }


def harvester_boxes(lesions: Sequence[LesionTruth]) -> list[list[float]]:
    """``[[z, x1, y1, x2, y2], ...]`` of all lesions on their key slices, as Lesion Harvester's annotation files.

    z is 0-based within the sub-volume, boxes are 1-based inclusive with padding, as in DL_info.csv.
    """
    ordered = sorted(lesions, key=lambda lesion: lesion.key_index)
    return [[lesion.key_index, *(round(v, 3) for v in one_based(lesion.key.padded_box))] for lesion in ordered]


def _numbers(values: Sequence[float] | NDArray[np.float64]) -> str:
    return ", ".join(f"{float(v):.6g}" for v in values)
