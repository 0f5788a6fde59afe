"""Boxes as 3D Slicer keeps them: ROI nodes of a markups JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lesion_app.atomic_file import replacing
from lesion_app.boxes.tracklet import Box3D
from lesion_app.errors import InputError

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
LESION = "lesion"
# Slicer's own default: the ROI's axes are the patient's right, anterior and superior, written in LPS.
_AXES = [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0]
_RAS = ("RAS", "0", 0)
_DIGITS = 4


@dataclass(frozen=True)
class LesionRoi:
    """One box a reader sees, moves or draws.

    Args:
        box: (x1, y1, z1, x2, y2, z2) LPS mm, the outer faces.
        type_name: what it is, ``lesion`` unless the model tells types.
        score: of the model that found it, 0..1; None when a reader drew it.
    """

    box: Box3D
    type_name: str = LESION
    score: float | None = None

    @property
    def centre(self) -> list[float]:
        """Centre (x, y, z), LPS mm."""
        return [(low + high) / 2 for low, high in zip(self.box[:3], self.box[3:])]

    @property
    def size(self) -> list[float]:
        """Sides along x, y and z, mm."""
        return [high - low for low, high in zip(self.box[:3], self.box[3:])]


def markups_document(rois: Sequence[LesionRoi]) -> dict[str, Any]:
    """The content of a markups file; name and description of an ROI's control point tell type and score.

    Source: Slicer's markups schema v1.0.3. Unknown fields may be dropped when Slicer saves, ``description`` is its own.
    """
    return {"@schema": SCHEMA, "markups": [_markup(roi, number) for number, roi in enumerate(rois, start=1)]}


def write_markups(path: Path, rois: Sequence[LesionRoi]) -> Path:
    """Write a markups file whole or not at all; OSError where that cannot be."""
    with replacing(Path(path)) as temporary:
        temporary.write_text(json.dumps(markups_document(rois), indent=1) + "\n", encoding="utf-8")
    return Path(path)


def read_markups(path: Path) -> list[LesionRoi]:
    """The ROIs of a markups file, axis-aligned.

    A rotated ROI becomes the bounds of its corners. Other markups, and ROIs without size or control points (Slicer's
    module keeps an empty one for its SAM2 tool and saves it along), are left out.

    Raises:
        InputError: the file is not JSON, no markups file, or an ROI in it has no finite centre and size.
    """
    name = Path(path).name
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read as a markups file; expected the JSON that 3D Slicer saves") from error
    markups = content.get("markups") if isinstance(content, Mapping) else None
    if not isinstance(markups, list):
        raise InputError(f"{name} has no list 'markups'; expected the JSON of ROI markups that 3D Slicer saves")
    return [roi for number, markup in enumerate(markups, start=1) if (roi := _roi(markup, f"{name}, ROI {number}"))]


def _markup(roi: LesionRoi, number: int) -> dict[str, Any]:
    centre = [round(value, _DIGITS) + 0.0 for value in roi.centre]
    size = [round(value, _DIGITS) + 0.0 for value in roi.size]
    told: dict[str, Any] = {"type": roi.type_name}
    label = f"{roi.type_name} {number}"
    if roi.score is not None:
        told["score"] = round(roi.score, _DIGITS)
        label = f"{label}: {roi.score:.2f}"
    point = {
        "id": "1",
        "label": label,
        "description": json.dumps(told),
        "associatedNodeID": "",
        "position": centre,
        "orientation": _AXES,
        "selected": True,
        "locked": False,
        "visibility": True,
        "positionStatus": "defined",
    }
    return {
        "type": "ROI",
        "name": label,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": 1,
        "roiType": "Box",
        "center": centre,
        "orientation": _AXES,
        "size": size,
        "insideOut": False,
        "controlPoints": [point],
        "measurements": [{"name": "volume", "enabled": False, "units": "cm3", "printFormat": "%-#4.4g%s"}],
    }


def _roi(markup: Any, where: str) -> LesionRoi | None:
    if not isinstance(markup, Mapping) or markup.get("type") != "ROI" or not markup.get("controlPoints"):
        return None
    try:
        centre = np.array([float(value) for value in markup["center"]]).reshape(3)
        half = np.abs(np.array([float(value) for value in markup["size"]]).reshape(3)) / 2
        axes = np.array([float(value) for value in markup.get("orientation") or _AXES]).reshape(3, 3)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where} has no centre and size of three numbers; save the markups anew") from error
    if not all(math.isfinite(value) for value in (*centre, *half, *axes.ravel())):
        raise InputError(f"{where} has a centre or size that is no finite number; save the markups anew")
    if not half.any():
        return None
    if markup.get("coordinateSystem", "LPS") in _RAS:
        turn = np.array([-1.0, -1.0, 1.0])
        centre, axes = centre * turn, axes * turn[:, None]
    reach = np.abs(axes) @ half  # the columns of the matrix are the ROI's axes
    x1, y1, z1 = (float(value) for value in centre - reach)
    x2, y2, z2 = (float(value) for value in centre + reach)
    type_name, score = _told(markup["controlPoints"])
    return LesionRoi((x1, y1, z1, x2, y2, z2), type_name, score)


def _told(points: Any) -> tuple[str, float | None]:
    """Type and score in the description of the first control point; a reader's own text tells neither."""
    try:
        told = json.loads(points[0].get("description") or "{}")
        score = told.get("score")
        known = isinstance(score, (int, float)) and 0 <= score <= 1
        return str(told.get("type") or LESION)[:64], float(score) if known else None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return LESION, None
