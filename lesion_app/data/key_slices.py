"""Records -> items: one a key slice to train on, one a sub-volume to evaluate on."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Literal, get_args

from lesion_app.data.record import Record
from lesion_app.errors import InputError

_CARRIED = ("image", "id", "series_id", "patient_id", "spacing_mm", "slices")
MinedUse = Literal["leave", "add", "ignore"]


def key_slice_items(records: Sequence[Record], mined: MinedUse = "leave") -> list[dict[str, Any]]:
    """One training item for every slice with at least one ``lesion`` box, by record and slice number.

    Each item carries ``image, id, series_id, patient_id, spacing_mm, slices`` of its record, ``slice`` (file
    number), ``boxes`` N x 4 and ``labels`` N, ``ignore`` M x 4, ``negatives`` L x 4 where there are any,
    and, where the record's truth is known, ``truth_boxes`` K x 4: every lesion on that slice, to measure mining with.
    Boxes are lists of (x1, y1, x2, y2) px, 0-based half-open.

    Args:
        records: of one split.
        mined: what becomes of ``mined`` annotations on these slices: left out (online mining finds its own), added
            to the boxes (offline mining), or ignored.

    Raises:
        InputError: for another word.
    """
    if mined not in get_args(MinedUse):
        raise InputError(f"mined annotations are to be '{mined}'; expected one of {', '.join(get_args(MinedUse))}")
    positive = {"lesion", "mined"} if mined == "add" else {"lesion"}
    ignored = {"ignore", "mined"} if mined == "ignore" else {"ignore"}
    items: list[dict[str, Any]] = []
    for record in records:
        for number in sorted({a["slice"] for a in record["annotations"] if a["kind"] == "lesion"}):
            here = [a for a in record["annotations"] if a["slice"] == number]
            item = _carried(record, _CARRIED)
            item["slice"] = number
            item["boxes"] = [list(a["box"]) for a in here if a["kind"] in positive]
            item["labels"] = [a["label"] for a in here if a["kind"] in positive]
            item["ignore"] = [list(a["box"]) for a in here if a["kind"] in ignored]
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
    within the sub-volume; a marked 3D ``extent`` is given with z counted the same way.
    """
    items: list[dict[str, Any]] = []
    for record in records:
        low = record["slices"][0]
        annotations: list[dict[str, Any]] = []
        for a in record["annotations"]:
            if a["kind"] != "lesion":
                continue
            entry: dict[str, Any] = {"slice": a["slice"] - low, "box": list(a["box"])}
            entry |= {"label": a["label"], "lesion_type": a["lesion_type"]}
            if "extent" in a:
                x1, y1, z1, x2, y2, z2 = a["extent"]
                entry["extent"] = [x1, y1, z1 - low, x2, y2, z2 - low]
            annotations.append(entry)
        items.append({**_carried(record, (*_CARRIED, "size")), "annotations": annotations})
    return items


def _carried(record: Record, keys: Sequence[str]) -> dict[str, Any]:
    """A copy of some fields of ``record``: an item may be changed without spoiling its record."""
    return {key: deepcopy(record[key]) for key in keys}  # type: ignore[literal-required]
