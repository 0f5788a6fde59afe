"""A datalist with readers' decisions in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lesion_app.data.datalist import SPLITS, load_records, write_datalist
from lesion_app.data.record import Record
from lesion_app.errors import InputError
from lesion_app.inferers.lesions_json import file_identity
from lesion_app.labeling.decisions import (
    AppliedDecisions,
    UnknownUse,
    apply_decisions,
    merge_decisions,
    read_decisions,
)

REVIEWED_SPLIT = "training"


def write_reviewed_datalist(
    datalist: Path,
    out: Path,
    decisions: Sequence[Path],
    *,
    unknown: UnknownUse = "ignore",
    supersede: bool = False,
) -> AppliedDecisions:
    """Write ``out``: ``datalist`` with the answers of some files in its training records.

    Its head gains an entry under ``reviewed``: name and SHA-256 of the datalist and of the files the answers came from,
    and how many there were of each verdict. Entries of earlier reviews stay.

    Args:
        datalist: as `lesion-app mine` or the bundle's ``configs/mine.json`` writes it; not changed.
        out: new file.
        decisions: files of :func:`lesion_app.labeling.decisions.read_decisions`.
        unknown, supersede: see :func:`lesion_app.labeling.decisions.apply_decisions`.

    Raises:
        InputError: ``out`` exists, no decisions were named, or see `apply_decisions`; nothing is written then.
    """
    if out.exists():
        raise InputError(f"{out} exists; a datalist is never overwritten by a review, so name another file")
    if not decisions:
        raise InputError("no decisions were named; pass --decisions with the file that the review sheet exported")
    answers = merge_decisions(*(read_decisions(path) for path in decisions), supersede=supersede)
    load_records(datalist, REVIEWED_SPLIT, datalist.parent)  # tells what is wrong with it, if anything
    content: dict[str, Any] = json.loads(datalist.read_text(encoding="utf-8"))
    splits: dict[str, list[Record]] = {split: content.pop(split, []) for split in SPLITS}
    applied = apply_decisions(splits[REVIEWED_SPLIT], answers, unknown=unknown, supersede=supersede)
    splits[REVIEWED_SPLIT] = applied.records
    entry = {
        "from": file_identity(datalist),
        "decisions": [file_identity(path) for path in decisions],
        "confirmed": applied.confirmed,
        "rejected": applied.rejected,
        "unknown": applied.unknown,
    }
    content["reviewed"] = [*content.get("reviewed", []), entry]
    write_datalist(out, content, splits)
    return applied
