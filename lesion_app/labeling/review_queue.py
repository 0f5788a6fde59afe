"""The review queue: every found box that no reader has answered yet, in the order it is worth a reader's time."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from lesion_app.boxes.overlap import box_iou
from lesion_app.data.record import Annotation, Record, Sighting
from lesion_app.errors import InputError

Order = Literal["volumes", "score", "random"]
ONLINE = "mined"


@dataclass(frozen=True)
class Suspect:
    """A box that a model found and no reader confirmed or rejected.

    Args:
        id: names record, slice and box, equal in every datalist that holds them (see :func:`suspect_id`).
        record: id of the sub-volume.
        slice: file number.
        box: (x1, y1, x2, y2) px of the original slice, 0-based, half-open.
        origin: how it was found: ``mined`` on its own slice, or the ``origin`` of the annotation.
        sightings: (model, score) of every model that found it, oldest first; empty when the datalist tells none.
    """

    id: str
    record: str
    slice: int
    box: tuple[float, float, float, float]
    origin: str
    sightings: tuple[tuple[str, float], ...]

    @property
    def score(self) -> float:
        """Score of the last sighting, 0..1; a find without a score counts 0.5, which says neither yes nor no."""
        return self.sightings[-1][1] if self.sightings else 0.5

    @property
    def model(self) -> str:
        """Version of the model that saw it last, or an empty text."""
        return self.sightings[-1][0] if self.sightings else ""


def suspect_id(record: str, number: int, box: Sequence[float]) -> str:
    """Twelve hex digits of record, slice and box (to a tenth of a px): the same find, the same name, everywhere."""
    edges = ",".join(f"{edge + 0.0:.1f}" for edge in box)
    return hashlib.sha256(f"{record}|{number}|{edges}".encode()).hexdigest()[:12]


def is_open(annotation: Annotation) -> bool:
    """Whether a reader is still to be asked: mined, and not confirmed or rejected ("unknown" is asked again)."""
    if annotation["kind"] == "mined":
        return True
    reviews = annotation.get("reviews", [])
    return annotation["kind"] == "ignore" and bool(reviews) and reviews[-1]["verdict"] == "unknown"


def review_queue(
    records: Sequence[Record],
    *,
    earlier: Sequence[Sequence[Record]] = (),
    order: Order = "volumes",
    seed: int = 0,
    same_iou: float = 0.5,
) -> list[Suspect]:
    """Every open find of ``records``.

    Args:
        records: of a datalist written by `lesion-app mine` (or any with ``mined`` boxes).
        earlier: records of datalists mined in earlier rounds, oldest first. A box there, of any kind that a model
            found, that overlaps by ``same_iou`` on the same slice is the same find: its sightings come first in the
            history.
        order: ``volumes``: the sub-volume with the largest sum of scores, which is the number of lesions expected to
            lack a label there, comes first with all its finds, so that a reader opens each volume once; ``score``:
            highest score first; ``random``: by ``seed``.
        seed: of ``random``.
        same_iou: least IoU of two sightings of one find.

    Raises:
        InputError: for another order.
    """
    if order not in get_args(Order):
        raise InputError(f"the review order is '{order}'; expected one of {', '.join(get_args(Order))}")
    before = [_found_by_slice(list_of_records) for list_of_records in earlier]
    suspects = []
    for record in records:
        for annotation in record["annotations"]:
            if is_open(annotation):
                suspects.append(_suspect(record, annotation, before, same_iou))
    suspects = list({one.id: one for one in suspects}.values())
    if order == "random":
        suspects.sort(key=lambda one: one.id)
        random.Random(seed).shuffle(suspects)
        return suspects
    suspects.sort(key=lambda one: (-one.score, one.record, one.slice, one.box))
    if order == "volumes":
        expected = expected_missing(suspects)
        suspects.sort(key=lambda one: (-expected[one.record], one.record))
    return suspects


def expected_missing(suspects: Sequence[Suspect]) -> dict[str, float]:
    """Sum of the scores of each record's suspects: how many lesions are expected to lack a label there."""
    total: dict[str, float] = defaultdict(float)
    for one in suspects:
        total[one.record] += one.score
    return {record: round(value, 6) for record, value in total.items()}


_Place = tuple[str, int]


def _found_by_slice(records: Sequence[Record]) -> dict[_Place, list[Annotation]]:
    found: dict[_Place, list[Annotation]] = defaultdict(list)
    for record in records:
        for annotation in record["annotations"]:
            if annotation["kind"] == "mined" or annotation.get("sightings"):
                found[(record["id"], annotation["slice"])].append(annotation)
    return found


def _suspect(
    record: Record, annotation: Annotation, before: Sequence[dict[_Place, list[Annotation]]], same_iou: float
) -> Suspect:
    history: list[Sighting] = []
    box = torch.tensor([annotation["box"]], dtype=torch.float64)
    for found in before:
        there = found.get((record["id"], annotation["slice"]), [])
        if there:
            overlap, place = box_iou(box, torch.tensor([a["box"] for a in there], dtype=torch.float64))[0].max(dim=0)
            if float(overlap) >= same_iou:
                history += there[int(place)].get("sightings", [])
    history += annotation.get("sightings", [])
    x1, y1, x2, y2 = (float(edge) for edge in annotation["box"])
    # A datalist mined on top of an earlier one holds the earlier sightings itself.
    seen = dict.fromkeys((one["model"], float(one["score"])) for one in history)
    return Suspect(
        suspect_id(record["id"], annotation["slice"], annotation["box"]),
        record["id"],
        annotation["slice"],
        (x1, y1, x2, y2),
        annotation.get("origin", ONLINE),
        tuple(seen),
    )
