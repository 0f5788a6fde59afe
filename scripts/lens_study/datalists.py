"""Datalists an arm trains on, made from those of the collections."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lesion_app.atomic_file import replacing

Annotation = dict[str, Any]


def with_strategies(enriched: Path, out: Path, strategies: Sequence[str], uncertain_as_lesions: bool) -> None:
    """The enriched datalist with the boxes of some strategies only.

    Strategies are applied one after the other and none changes what an earlier one found, so leaving the later ones'
    boxes out is the same as not having run them.
    """

    def chosen(annotations: list[Annotation], _: dict[str, Any]) -> list[Annotation]:
        kept = [a for a in annotations if "origin" not in a or a["origin"].split(":")[0] in strategies]
        if uncertain_as_lesions:
            kept = [
                {**a, "kind": "mined"}
                if a["kind"] == "ignore" and a.get("origin", "").startswith("cross-dataset")
                else a
                for a in kept
            ]
        return kept

    _rewrite(enriched, out, chosen)


def positives_only(datalist: Path, out: Path) -> None:
    """The datalist with each labelled slice ignored but for its lesions: no background is learnt from it."""

    def covered(annotations: list[Annotation], record: dict[str, Any]) -> list[Annotation]:
        whole = [0.0, 0.0, *(float(side) for side in record["size"])]
        cover = {"box": whole, "label": 1, "kind": "ignore", "lesion_type": -1, "noisy": False}
        labelled = sorted({a["slice"] for a in annotations if a["kind"] == "lesion"})
        return annotations + [{**cover, "slice": number} for number in labelled]

    _rewrite(datalist, out, covered)


def without_types(datalist: Path, truth: Path, out: Path, types: Sequence[int]) -> None:
    """The datalist without the training labels of some lesion types, which stand in the phantom's truth file only."""
    volumes = json.loads(truth.read_text(encoding="utf-8"))["sub_volumes"]

    def others(annotations: list[Annotation], record: dict[str, Any]) -> list[Annotation]:
        lesions = [lesion for lesion in volumes[record["id"]]["lesions"] if lesion["type"] in types]
        taken = {(lesion["key_slice"], *lesion["key_box"]) for lesion in lesions}
        return [a for a in annotations if (a["slice"], *a["box"]) not in taken]

    _rewrite(datalist, out, others)


def _rewrite(source: Path, out: Path, change: Callable[[list[Annotation], dict[str, Any]], list[Annotation]]) -> None:
    content = json.loads(source.read_text(encoding="utf-8"))
    for record in content["training"]:
        record["annotations"] = change(record["annotations"], record)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
