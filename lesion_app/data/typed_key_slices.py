"""Records -> key slices whose lesions have a type, for detectors of several classes.

DeepLesion gives a coarse type (1 to 8) to its validation and test rows only, 9,816 slices; the rest is -1. Pianese
("Benchmarking SOTA visual object detection techniques for medical applications", section 2.1) leaves the untyped rows
and all slices beside the key slices out.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from lesion_app.data.record import UNKNOWN_TYPE, Annotation, Record
from lesion_app.errors import InputError

_CARRIED = ("image", "id", "series_id", "patient_id", "spacing_mm", "size", "slices")


def typed_key_slice_items(
    records: Sequence[Record], limit: int | None = None, seed: int = 0, typed: bool = True
) -> list[dict[str, Any]]:
    """One item for every slice with at least one typed lesion, by record and slice number.

    Each item carries ``image, id, series_id, patient_id, spacing_mm, size, slices`` of its record, ``slice``
    (file number), ``boxes`` N x 4 and ``labels`` N (1 to 8, the lesion types; several types on one slice are
    usual), and ``ignore`` M x 4: ignored regions, and lesions of that slice whose type is unknown, which are neither
    lesions nor background here. Boxes are lists of (x1, y1, x2, y2) px of the original slice, 0-based half-open.

    Args:
        records: of one split.
        limit: at most this many items, drawn without replacement and kept in order; None = all.
        seed: of that draw.
        typed: False takes every lesion, typed or not, as the one class 1.

    Raises:
        InputError: there are lesions, but none of them has a type.
        ValueError: ``limit`` below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be positive or None, got {limit}")
    items: list[dict[str, Any]] = []
    lesions = 0
    for record in records:
        by_slice: dict[int, list[Annotation]] = {}
        for a in record["annotations"]:
            by_slice.setdefault(a["slice"], []).append(a)
        for number, here in sorted(by_slice.items()):
            found = [a for a in here if a["kind"] == "lesion"]
            lesions += len(found)
            targets = [a for a in found if not typed or a["lesion_type"] != UNKNOWN_TYPE]
            if not targets:
                continue
            item = {key: deepcopy(record[key]) for key in _CARRIED}  # type: ignore[literal-required]
            item["slice"] = number
            item["boxes"] = [list(a["box"]) for a in targets]
            item["labels"] = [a["lesion_type"] if typed else 1 for a in targets]
            item["ignore"] = [
                list(a["box"]) for a in here if a["kind"] == "ignore" or (a in found and a not in targets)
            ]
            items.append(item)
    if lesions and not items:
        raise InputError(
            f"none of the {lesions} lesions has a type; DeepLesion types its validation and test rows only, so make a "
            "datalist of those with `lesion-app prepare typed`"
        )
    if limit is not None and limit < len(items):
        chosen = np.sort(np.random.default_rng(seed).permutation(len(items))[:limit])
        items = [items[i] for i in chosen]
    return items
