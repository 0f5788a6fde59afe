"""Records -> items: one a key slice to train on, one a sub-volume to evaluate on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, Literal, get_args

from lesion_app.data.record import Annotation, Record
from lesion_app.errors import InputError

_CARRIED = ("image", "id", "series_id", "patient_id", "spacing_mm", "slices")
MinedUse = Literal["leave", "add", "ignore"]
Joined = Literal["labelled", "reviewed", "mined", "negative", "all"]
Elsewhere = Literal["leave", "ignore"]


def key_slice_items(
    records: Sequence[Record], mined: MinedUse = "leave", join: Joined = "labelled", elsewhere: Elsewhere = "leave"
) -> list[dict[str, Any]]:
    """One training item for every slice with at least one ``lesion`` box, by record and slice number.

    Each item carries ``image, id, series_id, patient_id, spacing_mm, slices`` of its record, ``slice`` (file
    number), ``boxes`` N x 4 and ``labels`` N, ``ignore`` M x 4, ``negatives`` L x 4 where there are any, ``lesions`` N
    (number of the 3D lesion within the record, or None) where boxes have one, ``mask_folder`` where there are masks,
    and, where the record's truth is known, ``truth_boxes`` K x 4: every lesion on that slice, to measure mining with.
    Boxes are lists of (x1, y1, x2, y2) px, 0-based half-open.

    Args:
        records: of one split.
        mined: what becomes of ``mined`` annotations on these slices: left out (online mining finds its own), added
            to the boxes (offline mining), or ignored.
        join: which slices join in beside the ``labelled`` ones: those ``reviewed`` by a reader (one on which every find
            was rejected is trained on as well, without boxes), those with a ``mined`` box, those with a ``negative``
            one (hard negatives are looked for between the labelled slices, too), or ``all`` slices of the sub-volumes,
            with whatever stands on them or nothing (LENS, Table III, "+ Unlabeled"; a slice whose ``boxes`` are empty
            is a negative one, in which the ``ignore`` regions are not looked at).
        elsewhere: what becomes of lesions labelled on other slices of the sub-volume: nothing, or a region to
            ``ignore`` here as well, since a lesion labelled on its key slice alone is seen on the slices beside it.

    Raises:
        InputError: for another word.
    """
    if mined not in get_args(MinedUse):
        raise InputError(f"mined annotations are to be '{mined}'; expected one of {', '.join(get_args(MinedUse))}")
    if join not in get_args(Joined):
        raise InputError(f"the slices to train on are '{join}'; expected one of {', '.join(get_args(Joined))}")
    if elsewhere not in get_args(Elsewhere):
        raise InputError(
            f"lesions of other slices are to be '{elsewhere}'; expected one of {', '.join(get_args(Elsewhere))}"
        )
    wanted = {"lesion", join} if join in ("mined", "negative") else {"lesion"}
    positive = {"lesion", "mined"} if mined == "add" else {"lesion"}
    ignored = {"ignore", "mined"} if mined == "ignore" else {"ignore"}
    items: list[dict[str, Any]] = []
    for record in records:
        by_slice: dict[int, list[Annotation]] = {}
        for a in record["annotations"]:
            by_slice.setdefault(a["slice"], []).append(a)
        numbers: Iterable[int] = sorted(
            n
            for n, here in by_slice.items()
            if any(a["kind"] in wanted or (join == "reviewed" and _is_answered(a)) for a in here)
        )
        if join == "all":
            numbers = range(record["slices"][0], record["slices"][1] + 1)
        for number in numbers:
            here = by_slice.get(number, [])
            item = _carried(record, _CARRIED)
            item["slice"] = number
            if "masks" in record:
                item["mask_folder"] = record["masks"]
            item["boxes"] = [list(a["box"]) for a in here if a["kind"] in positive]
            item["labels"] = [a["label"] for a in here if a["kind"] in positive]
            item["ignore"] = [list(a["box"]) for a in here if a["kind"] in ignored]
            if elsewhere == "ignore":
                beside = (a for n, others in by_slice.items() if n != number for a in others)
                item["ignore"] += [list(a["box"]) for a in beside if a["kind"] in {"lesion", "ignore"}]
            numbers_of_lesions = [a.get("lesion") for a in here if a["kind"] in positive]
            if any(lesion is not None for lesion in numbers_of_lesions):
                item["lesions"] = numbers_of_lesions
            negatives = [list(a["box"]) for a in here if a["kind"] == "negative"]
            if negatives:
                item["negatives"] = negatives
            if "truth" in record:
                item["truth_boxes"] = [list(t["box"]) for t in record["truth"] if t["slice"] == number]
            items.append(item)
    return items


def volume_items(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One item a sub-volume for whole-volume evaluation, those without a lesion included.

    Each carries the record's ``image, id, series_id, patient_id, spacing_mm, slices, size`` and
    ``annotations``: its lesions as ``{slice, box, label, lesion_type}``, where ``slice`` is the 0-BASED INDEX
    within the sub-volume; a marked 3D ``extent`` is given with z counted the same way. A lesion with boxes on several
    slices (``lesion`` of its annotations) is listed once, with its largest box, as a reader measures it.
    """
    items: list[dict[str, Any]] = []
    for record in records:
        low = record["slices"][0]
        annotations: list[dict[str, Any]] = []
        for a in _one_a_lesion(record["annotations"]):
            entry: dict[str, Any] = {"slice": a["slice"] - low, "box": list(a["box"])}
            entry |= {"label": a["label"], "lesion_type": a["lesion_type"]}
            if "extent" in a:
                x1, y1, z1, x2, y2, z2 = a["extent"]
                entry["extent"] = [x1, y1, z1 - low, x2, y2, z2 - low]
            annotations.append(entry)
        items.append({**_carried(record, (*_CARRIED, "size")), "annotations": annotations})
    return items


def _is_answered(annotation: Annotation) -> bool:
    """Whether a reader said what the box is; "unknown" is no answer."""
    reviews = annotation.get("reviews", [])
    return bool(reviews) and reviews[-1]["verdict"] != "unknown"


def _one_a_lesion(annotations: Sequence[Annotation]) -> list[Annotation]:
    """The ``lesion`` annotations, of those that share a number only the one with the largest box (first of equals)."""
    kept: dict[Any, Annotation] = {}
    for place, a in enumerate(annotations):
        if a["kind"] == "lesion":
            key = a.get("lesion", (place,))
            if key not in kept or _area(a) > _area(kept[key]):
                kept[key] = a
    return list(kept.values())


def _area(annotation: Annotation) -> float:
    x1, y1, x2, y2 = annotation["box"]
    return (x2 - x1) * (y2 - y1)


def _carried(record: Record, keys: Sequence[str]) -> dict[str, Any]:
    """A copy of some fields of ``record``: an item may be changed without spoiling its record."""
    return {key: deepcopy(record[key]) for key in keys}  # type: ignore[literal-required]
