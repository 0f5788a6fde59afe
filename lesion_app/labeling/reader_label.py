"""A reader's saved boxes and what a model had shown there -> a record with the reader's answers in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lesion_app.boxes.overlap import box_iou
from lesion_app.boxes.tracklet import Box2D
from lesion_app.data.patient_boxes import boxes_from_lps, overlap_3d, slice_boxes
from lesion_app.data.record import UNKNOWN_TYPE, Annotation, Record, Verdict, validate_record
from lesion_app.errors import InputError
from lesion_app.labeling.decisions import Decision, apply_decisions
from lesion_app.labeling.review_queue import suspect_id
from lesion_app.labeling.roi_markups import LesionRoi
from lesion_app.mining.sightings import Find, enter_sightings, sighting
from transforms.geometry import VolumeGeometry

_SAME_LESION_IOU = 0.1  # 3D; a reader who tightens a loose box leaves little of it
_SAME_FIND_IOU = 0.5  # 2D, as everywhere in mining
_UNTOUCHED_VOXELS = 0.5  # a box moved by less on every side is the model's own


@dataclass(frozen=True)
class ReaderAnswer:
    """Who answered, when, and how the boxes that are missing are meant.

    Args:
        by: name of the reader.
        at: time; None = now.
        shown: the reader saw the model's boxes, so that those missing from the label were taken away.
        complete: the label holds every lesion of the volume, so that whatever is missing from it is none.
    """

    by: str
    at: datetime | None = None
    shown: bool = True
    complete: bool = False

    @property
    def time(self) -> str:
        """ISO 8601 in UTC."""
        at = self.at or datetime.now(timezone.utc)
        return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def record_of_volume(image_id: str, image: Path, geometry: VolumeGeometry, patient: str = "") -> Record:
    """An unannotated record of a whole CT; slices are numbered on the network grid, 0 = most inferior.

    ``patient`` tells which volumes are of one patient; without it each volume counts as one of its own.
    """
    depth, height, width = geometry.shape_zyx
    series = re.sub(r"\W+", "-", image_id).strip("-") or "volume"
    return Record(
        id=f"{series}_000-{depth - 1:03d}",
        image=str(image),
        series_id=series,
        patient_id=patient or series,
        dataset="labelled",
        spacing_mm=[float(value) for value in geometry.spacing_mm],
        size=[width, height],
        slices=[0, depth - 1],
        annotations=[],
    )


def enter_finds(record: Record, document: dict[str, Any]) -> int:
    """Add what a model found to ``record`` as ``mined`` boxes; a find that stands there gains a sighting instead.

    Args:
        record: of :func:`record_of_volume`; changed.
        document: the content of ``lesions.json`` of the same CT.

    Returns:
        how many boxes were added.
    """
    model = document["model"]["sha256"]
    labels: dict[Find, int] = {}
    for entry in document["lesions"]:
        for one in entry["slices"]:
            box = _clipped(one["box"], record)
            if box is not None:
                labels[Find(int(one["axial_slice"]), box, float(one["score"]))] = int(entry["label"])
    fresh = enter_sightings(record, list(labels), model, _SAME_FIND_IOU)
    for find in fresh:
        record["annotations"].append(_mined(find.slice, find.box, labels[find], model, find.score))
    return len(fresh)


def answered_record(
    record: Record,
    document: dict[str, Any] | None,
    rois: Sequence[LesionRoi],
    geometry: VolumeGeometry,
    answer: ReaderAnswer,
    *,
    label_of: Callable[[str], int] = lambda name: 1,
    earlier: Record | None = None,
) -> Record:
    """The record of a volume after a reader saved a label.

    * A box of the model that the label still holds is confirmed: with the model's boxes slice by slice when the reader
      left it in place (every side within half a voxel), else with the reader's.
    * One that the label lacks was rejected when the reader saw it, or calls the label complete; else it stays
      ``mined``, which is to say unknown.
    * A second box on a lesion of the label, taken away or not, is neither.
    * A box that no model had found is a lesion the reader added.
    * What was rejected in an earlier label stays rejected unless a lesion lies there now.

    Every answer goes through :func:`lesion_app.labeling.decisions.apply_decisions`, and stands in the record's
    ``reviews`` with its reader, time and model.

    Args:
        record: of :func:`record_of_volume`; not changed.
        document: what the model found (``lesions.json``), None when no model looked.
        rois: the label; boxes in LPS mm.
        geometry: of the CT.
        answer: see :class:`ReaderAnswer`.
        label_of: class of a type's name.
        earlier: the record of the volume's label before this one.

    Raises:
        InputError: a box outside the CT, or an answer without a name.
    """
    if not answer.by.strip():
        raise InputError("the label does not tell who made it; send a client_id or a user along")
    result = deepcopy(record)
    verdicts: list[tuple[Annotation, Verdict, str]] = []
    numbers = count()

    def enter(slices: dict[int, Box2D], label: int, verdict: Verdict | None, seen: tuple[str, float] | None) -> None:
        edges = np.array(list(slices.values()), dtype=np.float64).reshape(-1, 4)
        number = next(numbers)
        for z, box in slices.items():
            annotation = _mined(z, box, label, *(seen or ("", None)))
            annotation["lesion"] = number
            (x1, y1), (x2, y2) = edges[:, :2].min(axis=0).tolist(), edges[:, 2:].max(axis=0).tolist()
            annotation["extent"] = [x1, y1, min(slices), x2, y2, max(slices) + 1]
            result["annotations"].append(annotation)
            if verdict is not None:
                verdicts.append((annotation, verdict, seen[0] if seen else ""))

    entries = [] if document is None else document["lesions"]
    model = "" if document is None else document["model"]["sha256"]
    boxes = boxes_from_lps([roi.box for roi in rois], geometry)
    found = np.array([_extent(entry) for entry in entries], dtype=np.float64).reshape(-1, 6)
    overlap = overlap_3d(found, boxes)
    of_roi = _pairs(overlap)
    twins = np.any(overlap >= _SAME_LESION_IOU, axis=1).tolist()  # a second box on a confirmed lesion is no background
    for place, entry in enumerate(entries):
        seen = (model, float(entry["score"]))
        own = {
            int(one["axial_slice"]): box for one in entry["slices"] if (box := _clipped(one["box"], record)) is not None
        }
        if place in of_roi:
            at = of_roi[place]
            in_place = np.abs(boxes[at] - found[place]).max() <= _UNTOUCHED_VOXELS + 1e-3
            slices = own if in_place and own else slice_boxes(tuple(boxes[at]), geometry)  # type: ignore[arg-type]
            enter(slices, int(entry["label"]), "confirmed", seen)
        elif not twins[place]:
            gone = answer.shown or answer.complete
            enter(own, int(entry["label"]), "rejected" if gone else None, seen)
    for number in sorted(set(range(len(rois))) - set(of_roi.values())):
        enter(slice_boxes(tuple(boxes[number]), geometry), label_of(rois[number].type_name), "confirmed", None)  # type: ignore[arg-type]
    _keep_rejected(result, earlier, [a for a, verdict, _ in verdicts if verdict == "confirmed"])
    decisions = [
        Decision(
            suspect_id(result["id"], a["slice"], a["box"]),
            result["id"],
            a["slice"],
            tuple(a["box"]),  # type: ignore[arg-type]
            verdict,
            answer.by.strip(),
            answer.time,
            version,
        )
        for a, verdict, version in verdicts
    ]
    answered = apply_decisions([result], decisions, supersede=True).records[0]
    validate_record(answered)
    return answered


def open_score(annotations: Sequence[Annotation], document: dict[str, Any]) -> float:
    """Lesions expected to lack a label in a volume: the sum of the scores of the finds that no reader answered.

    Args:
        annotations: of the volume's record; a find that overlaps an answered box there is answered.
        document: what the current model finds (``lesions.json``).
    """
    answered: dict[int, list[list[float]]] = {}
    for annotation in annotations:
        reviews = annotation.get("reviews", [])
        if reviews and reviews[-1]["verdict"] != "unknown":
            answered.setdefault(annotation["slice"], []).append(annotation["box"])

    def is_open(entry: dict[str, Any]) -> bool:
        for one in entry["slices"]:
            here = answered.get(int(one["axial_slice"]), [])
            if here and float(box_iou(_tensor([one["box"]]), _tensor(here)).max()) >= _SAME_FIND_IOU:
                return False
        return True

    return round(sum(float(entry["score"]) for entry in document["lesions"] if is_open(entry)), 4)


def _keep_rejected(result: Record, earlier: Record | None, lesions: Sequence[Annotation]) -> None:
    """Take over earlier rejections, with all their reviews, where no box of the new label lies."""
    here = {suspect_id(result["id"], a["slice"], a["box"]): a for a in result["annotations"]}
    for annotation in earlier["annotations"] if earlier is not None else []:
        identity = suspect_id(result["id"], annotation["slice"], annotation["box"])
        if identity in here:
            if annotation.get("reviews"):  # the same box was answered before: that stands until it is answered anew
                here[identity]["reviews"] = deepcopy(annotation["reviews"])
                here[identity]["kind"] = annotation["kind"]
            continue
        reviews = annotation.get("reviews", [])
        if not reviews or reviews[-1]["verdict"] != "rejected":
            continue
        there = [a["box"] for a in lesions if a["slice"] == annotation["slice"]]
        if not there or float(box_iou(_tensor([annotation["box"]]), _tensor(there)).max()) == 0.0:
            result["annotations"].append(deepcopy(annotation))


def _pairs(overlap: np.ndarray) -> dict[int, int]:
    """Find -> ROI, each at most once, the largest overlap first."""
    pairs: dict[int, int] = {}
    rows, columns = np.nonzero(overlap >= _SAME_LESION_IOU)
    for place in np.argsort(-overlap[rows, columns], kind="stable"):
        row, column = int(rows[place]), int(columns[place])
        if row not in pairs and column not in pairs.values():
            pairs[row] = column
    return pairs


def _extent(entry: dict[str, Any]) -> list[float]:
    edges = np.array([one["box"] for one in entry["slices"]], dtype=np.float64)
    z = [int(one["axial_slice"]) for one in entry["slices"]]
    return [*edges[:, :2].min(axis=0), min(z), *edges[:, 2:].max(axis=0), max(z) + 1]


def _mined(z: int, box: Box2D, label: int, model: str, score: float | None) -> Annotation:
    annotation = Annotation(slice=z, box=list(box), label=label, kind="mined", lesion_type=UNKNOWN_TYPE, noisy=False)
    if score is not None:
        annotation["sightings"] = [sighting(model, score)]
    return annotation


def _clipped(box: Sequence[float], record: Record) -> Box2D | None:
    width, height = record["size"]
    x1, y1, x2, y2 = (float(edge) for edge in box)
    inside = (round(max(x1, 0.0), 3), round(max(y1, 0.0), 3), round(min(x2, width), 3), round(min(y2, height), 3))
    return inside if inside[2] > inside[0] and inside[3] > inside[1] else None


def _tensor(boxes: Sequence[Sequence[float]]) -> torch.Tensor:
    return torch.tensor(boxes, dtype=torch.float64)
