"""Score history of found boxes: which model saw which find, kept on the annotation of the find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from lesion_app.boxes.overlap import box_iou
from lesion_app.data.record import Annotation, Record, Sighting


class Find(NamedTuple):
    """One detection: file number of the slice, box (x1, y1, x2, y2) px of the original slice, score 0..1."""

    slice: int
    box: tuple[float, float, float, float]
    score: float


def enter_sightings(record: Record, finds: Sequence[Find], model: str, same_iou: float = 0.5) -> list[Find]:
    """Note on a record's earlier finds that ``model`` saw them again; changes ``record``.

    Earlier finds are annotations of kind ``mined`` and all that have ``sightings`` or ``reviews``, so a box that a
    reader rejected gains its new score and is not found anew. Each find takes the earlier one that it overlaps most;
    the best-scored one counts where several take the same.

    Args:
        record: its annotations gain ``sightings``.
        finds: of one model in one look.
        model: its version.
        same_iou: least IoU of two sightings of one find.

    Returns:
        the finds that are no earlier one, in the order given.
    """
    earlier: dict[int, list[Annotation]] = {}
    for annotation in record["annotations"]:
        if annotation["kind"] == "mined" or annotation.get("sightings") or annotation.get("reviews"):
            earlier.setdefault(annotation["slice"], []).append(annotation)
    taken: set[int] = set()
    fresh: list[int] = []
    for place in sorted(range(len(finds)), key=lambda i: -finds[i].score):
        find = finds[place]
        here = earlier.get(find.slice, [])
        if here:
            overlap, best = box_iou(_boxes([find.box]), _boxes([a["box"] for a in here]))[0].max(dim=0)
        if not here or float(overlap) < same_iou:
            fresh.append(place)
            continue
        annotation = here[int(best)]
        if id(annotation) not in taken:
            taken.add(id(annotation))
            history = annotation.setdefault("sightings", [])
            entry = sighting(model, find.score)
            if entry not in history:  # the same look, taken twice
                history.append(entry)
    return [finds[i] for i in sorted(fresh)]


def sighting(model: str, score: float) -> Sighting:
    """The entry a datalist keeps, its score rounded to four digits."""
    return Sighting(model=model, score=round(min(max(float(score), 0.0), 1.0), 4))


def _boxes(boxes: Sequence[Sequence[float]]) -> torch.Tensor:
    return torch.tensor(boxes, dtype=torch.float64)
