"""LENS's mining over a data set: records and a model's proposals in, records with mined boxes and their origin out.

Yan et al., "Learning from multiple datasets with heterogeneous and partial labels for universal lesion detection in
CT", IEEE TMI 40(10), 2021, section V. The order is the paper's: boxes of annotated lesions on other slices first, then
lesions annotated elsewhere in the patient, then, where neither stands, what other data sets' experts are sure of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image

from lesion_app.boxes.overlap import box_iou
from lesion_app.boxes.tracklet import Box2D, Tracklet
from lesion_app.data.record import UNKNOWN_TYPE, Annotation, Kind, Record
from lesion_app.mining.cross_dataset import uncertain_boxes
from lesion_app.mining.cross_slice import key_slice_iou, propagate_across_slices
from lesion_app.mining.intra_patient import LesionMatch, match_within_patients
from lesion_app.mining.sightings import sighting

CROSS_SLICE, INTRA_PATIENT, CROSS_DATASET = "cross-slice", "intra-patient", "cross-dataset"
SliceDetections = Mapping[str, Any]


@dataclass(frozen=True)
class Proposals:
    """What a model found in one sub-volume; slices are counted from 0 within it, boxes are px of the original slices.

    Args:
        tracklets: its proposals of all experts, fused and grouped over adjacent slices (theta).
        embeddings: [T, D], one a tracklet; None leaves intra-patient matching out.
        annotation_embeddings: [A, D], one for each annotation of kind ``lesion``, in the record's order.
        experts: name of a single-type data set -> its proposals, one ``{boxes, scores}`` a slice.
    """

    tracklets: Sequence[Tracklet]
    embeddings: np.ndarray | None = None
    annotation_embeddings: np.ndarray | None = None
    experts: Mapping[str, Sequence[SliceDetections]] = field(default_factory=dict)


def enrich_records(
    records: Sequence[Record],
    proposals: Mapping[str, Proposals],
    *,
    theta: float = 0.5,
    delta: float = 0.15,
    sigma: float = 0.5,
    across_volumes_only: bool = True,
    model: str | None = None,
) -> list[Record]:
    """Add mined boxes to the records of one training split.

    * ``cross-slice``: boxes of kind ``mined``, ``lesion`` (the number) and ``lesion_type`` those of the annotation.
    * ``intra-patient``: boxes of kind ``mined``, every box of a matched tracklet, as a new 3D lesion with a number of
      its own and the annotation's ``lesion_type``. Tracklets that are an annotated lesion already take no part.
    * ``cross-dataset:<expert>``: boxes of kind ``ignore``.

    A mined box that meets an annotation or an earlier mined box on its slice (IoU > theta) is that lesion and not
    added. Boxes are clipped to the image. Annotations keep their places; those of kind ``lesion`` without a number get
    one, so that a lesion's boxes can be told to belong together. ``key_slice_items`` with ``mined="add"`` and ``join``
    ``mined`` or ``all`` trains on the result.

    Args:
        records: not changed.
        proposals: by record ``id``; records without any stay as they are.
        theta, delta, sigma: the paper's thresholds.
        across_volumes_only: see ``annotation_volumes`` of `match_within_patients`.
        model: version of the model that found the proposals; mined boxes then tell it, with their score, in
            ``sightings``.

    Returns:
        new records in the same order.

    Raises:
        ValueError: proposals whose counts do not fit their record, or of a record that is not there.
    """
    strangers = set(proposals) - {record["id"] for record in records}
    if strangers:
        raise ValueError(f"there are proposals for {min(strangers)}, which is none of the records")
    enriched = [deepcopy(record) for record in records]
    books = [_Book(record, proposals[record["id"]], theta, model) for record in enriched if record["id"] in proposals]
    for book in books:
        book.number_lesions()
        book.add_across_slices()
    _add_within_patients(books, delta, across_volumes_only)
    for book in books:
        book.add_across_datasets(sigma)
    return enriched


class _Book:
    """One record while boxes are entered into it."""

    def __init__(self, record: Record, found: Proposals, theta: float, model: str | None = None) -> None:
        self.record, self.found, self.theta, self.model = record, found, theta, model
        self.low = record["slices"][0]
        self.lesions = [a for a in record["annotations"] if a["kind"] == "lesion"]
        depth = record["slices"][1] - self.low + 1
        for name, given, wanted in (
            ("tracklet embeddings", found.embeddings, len(found.tracklets)),
            ("annotation embeddings", found.annotation_embeddings, len(self.lesions)),
        ):
            if given is not None and len(given) != wanted:
                raise ValueError(f"{record['id']}: expected {wanted} {name}, got {len(given)}")
        for name, slices in found.experts.items():
            if len(slices) != depth:
                raise ValueError(f"{record['id']}: expected {depth} slices of expert {name}, got {len(slices)}")
        self.slices = np.array([a["slice"] - self.low for a in self.lesions], dtype=np.int64)
        self.boxes = np.array([a["box"] for a in self.lesions], dtype=np.float64).reshape(-1, 4)

    def number_lesions(self) -> None:
        for annotation in self.lesions:
            if "lesion" not in annotation:
                annotation["lesion"] = self._next_number()

    def add_across_slices(self) -> None:
        mined = propagate_across_slices(self.found.tracklets, self.slices, self.boxes, self.theta)
        for one in sorted(mined, key=lambda one: -one.score):
            of = self.lesions[one.annotation]
            self._add_mined(one.slice, one.box, one.score, CROSS_SLICE, of["lesion"], of["lesion_type"])

    def free_tracklets(self) -> np.ndarray:
        """Indices of the tracklets that are no annotated lesion."""
        iou = key_slice_iou(self.found.tracklets, self.slices, self.boxes)
        return np.flatnonzero(~(iou > self.theta).any(axis=1))

    def add_lesion(self, tracklet: int, lesion_type: int) -> None:
        number, one = self._next_number(), self.found.tracklets[tracklet]
        for z, box, score in zip(one.slices, one.boxes, one.scores):
            self._add_mined(z, box, score, INTRA_PATIENT, number, lesion_type)

    def add_across_datasets(self, sigma: float) -> None:
        known: dict[int, list[list[float]]] = {}
        for a in self.record["annotations"]:
            if a["kind"] in ("lesion", "mined"):
                known.setdefault(a["slice"], []).append(a["box"])
        for name, slices in self.found.experts.items():
            for z, seen in enumerate(slices):
                boxes = _floats(seen["boxes"]).reshape(-1, 4)
                here = torch.tensor(known.get(self.low + z, []), dtype=torch.float64).reshape(-1, 4)
                keep = uncertain_boxes(boxes, _floats(seen["scores"]), here, sigma)
                for box in boxes[keep].tolist():
                    self._add(z, box, "ignore", f"{CROSS_DATASET}:{name}", None, UNKNOWN_TYPE)

    def _add_mined(self, z: int, box: Box2D, score: float, origin: str, number: int, lesion_type: int) -> None:
        here = [a["box"] for a in self.record["annotations"] if a["slice"] == self.low + z and a["kind"] != "ignore"]
        if here and float(box_iou(_floats([box]), _floats(here)).max()) > self.theta:
            return
        entry = self._add(z, box, "mined", origin, number, lesion_type)
        if entry is not None and self.model is not None:
            entry["sightings"] = [sighting(self.model, score)]

    def _add(
        self, z: int, box: Sequence[float], kind: Kind, origin: str, number: int | None, lesion_type: int
    ) -> Annotation | None:
        width, height = self.record["size"]
        x1, y1, x2, y2 = (round(v, 3) for v in clip_boxes_to_image(_floats([box]), (height, width))[0].tolist())
        if x2 <= x1 or y2 <= y1:
            return None
        entry = Annotation(
            slice=self.low + int(z),
            box=[x1, y1, x2, y2],
            label=1,
            kind=kind,
            lesion_type=lesion_type,
            noisy=False,
            origin=origin,
        )
        if number is not None:
            entry["lesion"] = number
        self.record["annotations"].append(entry)
        return entry

    def _next_number(self) -> int:
        return 1 + max((a["lesion"] for a in self.record["annotations"] if "lesion" in a), default=-1)


def _add_within_patients(books: Sequence[_Book], delta: float, across_volumes_only: bool) -> None:
    taking_part = [b for b in books if b.found.embeddings is not None and b.found.annotation_embeddings is not None]
    free = [book.free_tracklets() for book in taking_part]
    places = [(book, int(t)) for book, of_book in zip(taking_part, free) for t in of_book]
    marks = [(book, a) for book in taking_part for a in book.lesions]
    if not places or not marks:
        return
    volumes: dict[str, Any] = {}
    if across_volumes_only:
        volumes = {
            "annotation_volumes": [book.record["id"] for book, _ in marks],
            "tracklet_volumes": [book.record["id"] for book, _ in places],
        }
    matches = match_within_patients(
        np.concatenate([_vectors(book.found.annotation_embeddings) for book in taking_part if book.lesions]),
        [book.record["patient_id"] for book, _ in marks],
        np.concatenate([_vectors(book.found.embeddings)[f] for book, f in zip(taking_part, free) if len(f)]),
        [book.record["patient_id"] for book, _ in places],
        delta,
        **volumes,
    )

    def by_score(match: LesionMatch) -> float:
        book, t = places[match.tracklet]
        return -book.found.tracklets[t].score

    for match in sorted(matches, key=by_score):
        book, t = places[match.tracklet]
        book.add_lesion(t, marks[match.annotation][1]["lesion_type"])


def _vectors(embeddings: Any) -> np.ndarray:
    return np.asarray(embeddings, dtype=np.float64)


def _floats(values: Any) -> Tensor:
    return torch.as_tensor(values).detach().cpu().double()
