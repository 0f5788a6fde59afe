"""What offline mining added, strategy by strategy, in plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lesion_app.data.record import Annotation, Record
from lesion_app.metrics.mined_origins import counts_by_origin


def mined_summary(records: Sequence[Record], iou_threshold: float = 0.5) -> dict[str, dict[str, Any]]:
    """Counts of every strategy of LENS's mining, and its precision and recall where the truth is known.

    Args:
        records: enriched ones (`enrich_records`).
        iou_threshold: see `counts_by_origin`.

    Returns:
        for ``cross-slice``, ``intra-patient``, ``cross-dataset`` (all its experts together; each by itself as
        ``cross-dataset:<expert>``, where there are several) and ``all``, those that added anything: ``boxes``,
        ``slices`` with one, new 3D ``lesions`` (of ``mined`` boxes whose lesion nobody annotated in the record),
        ``judged`` (boxes in records with truth) and, if there are any, their ``precision`` and ``recall`` (share of the
        hidden 2D boxes), with ``hidden``.
    """
    known = [record for record in records if "truth" in record]
    measured = {**counts_by_origin(known, iou_threshold), **counts_by_origin(_by_strategy(known), iou_threshold)}
    added = [(r["id"], a, name) for r in records for a in r["annotations"] if "origin" in a for name in _names(a)]
    annotated = {(r["id"], a.get("lesion")) for r in records for a in r["annotations"] if a["kind"] == "lesion"}
    rows: dict[str, dict[str, Any]] = {}
    for name in _ordered({name for *_, name in added}):
        own = [(record, a) for record, a, of in added if of == name]
        mined = {(record, a["lesion"]) for record, a in own if a["kind"] == "mined" and "lesion" in a}
        rows[name] = {
            "boxes": len(own),
            "slices": len({(record, a["slice"]) for record, a in own}),
            "lesions": len(mined - annotated),
        }
        counts = measured.get(name)
        if counts is not None and known:
            rows[name] |= {"judged": counts.mined, "hidden": counts.hidden}
            rows[name] |= {"precision": counts.precision, "recall": counts.recall}
    return rows


def _names(annotation: Annotation) -> list[str]:
    """A mined box counts for its strategy, for the expert that found it, and for all."""
    origin = annotation["origin"]
    return list(dict.fromkeys([_strategy(origin), origin, "all"]))


def _strategy(origin: str) -> str:
    return origin.split(":")[0]


def _ordered(names: set[str]) -> list[str]:
    """In the paper's order; an expert's own row is left out where it is the only one."""
    first = [name for name in ("cross-slice", "intra-patient", "cross-dataset") if name in names]
    experts = sorted(name for name in names if ":" in name)
    return [*first, *(experts if len(experts) > 1 else []), *(["all"] if "all" in names else [])]


def _by_strategy(records: Sequence[Record]) -> list[Record]:
    """The records with the experts' names struck from the origins."""
    plain: list[Record] = []
    for record in records:
        annotations = [
            Annotation(**{**a, "origin": _strategy(a["origin"])}) if "origin" in a else a  # type: ignore[typeddict-item]
            for a in record["annotations"]
        ]
        plain.append(Record(**{**record, "annotations": annotations}))  # type: ignore[typeddict-item]
    return plain
