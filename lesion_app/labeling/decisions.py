"""Readers' decisions on found boxes: files of them, and what they make of a datalist."""

from __future__ import annotations

import copy
import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from io import StringIO
from pathlib import Path
from typing import Any, Literal, get_args

from lesion_app.atomic_file import replacing
from lesion_app.data.record import VERDICTS, Annotation, Kind, Record, Review, Verdict
from lesion_app.errors import InputError
from lesion_app.labeling.review_queue import Suspect, suspect_id

SCHEMA_VERSION = "1.0"
DECISION_FILES = (".json", ".csv")
UnknownUse = Literal["mined", "ignore"]
_KIND: dict[str, Kind] = {"confirmed": "lesion", "rejected": "negative"}


@dataclass(frozen=True)
class Decision:
    """One answer: ``verdict`` on the find ``id`` (record, slice and box in px as :class:`Suspect`), ``by`` whom, ``at``
    which time (ISO 8601 with time zone), on a find of which ``model`` version."""

    id: str
    record: str
    slice: int
    box: tuple[float, float, float, float]
    verdict: Verdict
    by: str
    at: str
    model: str = ""

    def review(self) -> Review:
        """The entry that a datalist keeps."""
        return Review(verdict=self.verdict, by=self.by, at=self.at, model=self.model)


@dataclass(frozen=True)
class AppliedDecisions:
    """The records with the answers in them, and how many there were of each verdict."""

    records: list[Record]
    confirmed: int
    rejected: int
    unknown: int


def decide(suspect: Suspect, verdict: Verdict, by: str, at: datetime | None = None) -> Decision:
    """The answer of reader ``by`` on a suspect; ``at`` None = now."""
    at = at or datetime.now(timezone.utc)
    time = at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Decision(suspect.id, suspect.record, suspect.slice, suspect.box, verdict, by, time, suspect.model)


def merge_decisions(*lists: Iterable[Decision], supersede: bool = False) -> list[Decision]:
    """One list in order of time; the same answer given twice is listed once.

    Args:
        lists: of decisions.
        supersede: two verdicts on one find are both kept, and the later one rules; otherwise that is an error.

    Raises:
        InputError: one answer contradicts an earlier one (an ``unknown`` is contradicted by nothing) and
            ``supersede`` is False.
    """
    merged = sorted(dict.fromkeys(one for decisions in lists for one in decisions), key=lambda d: (_time(d.at), d.id))
    last: dict[str, Decision] = {}
    for one in merged:
        before = last.get(one.id)
        if before is not None and _contradicts(before.verdict, one.verdict) and not supersede:
            raise InputError(
                f"find {one.id} on slice {one.slice} of {one.record} is {before.verdict} at {before.at} and "
                f"{one.verdict} at {one.at}; settle it, or pass --supersede to let the later answer rule"
            )
        last[one.id] = one
    return merged


def apply_decisions(
    records: Sequence[Record], decisions: Iterable[Decision], *, unknown: UnknownUse = "ignore", supersede: bool = False
) -> AppliedDecisions:
    """Copies of ``records`` in which the answers stand: confirmed = ``lesion``, rejected = ``negative``.

    A rejected box is trained as background and never mined again. An ``unknown`` one becomes an ``ignore`` region,
    which gives no gradient, or stays ``mined``; either way a reader is asked again. Every answer is added to the
    annotation's ``reviews``; none is taken away.

    Args:
        records: as :func:`lesion_app.data.datalist.load_records` gives them.
        decisions: answers; in any order.
        unknown: what an unknown box becomes.
        supersede: a different earlier answer gives way to the later one (both stay in ``reviews``).

    Raises:
        InputError: another word for ``unknown``, a box that no record has, or a contradiction without ``supersede``.
    """
    if unknown not in get_args(UnknownUse):
        raise InputError(f"unknown boxes are to be '{unknown}'; expected one of {', '.join(get_args(UnknownUse))}")
    changed = copy.deepcopy(list(records))
    place: dict[str, list[Annotation]] = defaultdict(list)
    for record in changed:
        for annotation in record["annotations"]:
            if annotation["kind"] == "mined" or annotation.get("reviews"):
                place[suspect_id(record["id"], annotation["slice"], annotation["box"])].append(annotation)
    last: dict[str, Verdict] = {}
    for one in merge_decisions(decisions, supersede=supersede):
        if one.id not in place:
            raise InputError(
                f"the datalist has no found box {one.id} on slice {one.slice} of {one.record}; expected the decisions "
                "of this very datalist, so name the one the review was made of"
            )
        for target in place[one.id]:
            _answer(target, one, unknown, supersede)
            last[one.id] = target["reviews"][-1]["verdict"]
    counts = {verdict: list(last.values()).count(verdict) for verdict in VERDICTS}  # type: ignore[arg-type]
    return AppliedDecisions(changed, counts["confirmed"], counts["rejected"], counts["unknown"])


def decisions_in(records: Sequence[Record]) -> list[Decision]:
    """Every answer that stands in a datalist's records, oldest first."""
    found = [
        Decision(
            suspect_id(record["id"], a["slice"], a["box"]),
            record["id"],
            a["slice"],
            _edges(a["box"]),
            review["verdict"],
            review["by"],
            review["at"],
            review["model"],
        )
        for record in records
        for a in record["annotations"]
        for review in a.get("reviews", [])
    ]
    return merge_decisions(found, supersede=True)


def write_decisions(path: Path, decisions: Sequence[Decision], *, replace: bool = False) -> Path:
    """Write ``path`` (.json or .csv) whole or not at all.

    Raises:
        InputError: another suffix, an existing file (unless ``replace``), or a place that cannot be written to.
    """
    path = Path(path)
    if path.suffix.lower() not in DECISION_FILES:
        raise InputError(f"decisions are written as .json or .csv, not as '{path.name}'; rename it")
    if path.exists() and not replace:
        raise InputError(f"{path} exists; decisions are never overwritten, so name another file")
    rows = [{**asdict(one), "box": list(one.box)} for one in decisions]
    if path.suffix.lower() == ".json":
        text = json.dumps({"schema_version": SCHEMA_VERSION, "decisions": rows}, indent=1, ensure_ascii=False) + "\n"
    else:
        stream = StringIO()
        writer = csv.DictWriter(stream, [field.name for field in fields(Decision)], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "box": " ".join(repr(edge) for edge in row["box"])} for row in rows)  # type: ignore[attr-defined]
        text = stream.getvalue()
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose a place you may write to") from error
    return path


def read_decisions(path: Path) -> list[Decision]:
    """Read a file of decisions, JSON or CSV by its suffix; rows of a CSV without a verdict are not yet decided.

    Raises:
        InputError: the file cannot be read, is neither, or a row is faulty (told by its number).
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the decisions {path.name} cannot be read as text; name a .json or .csv of a review"
        ) from error
    if path.suffix.lower() == ".csv":
        rows: Any = list(csv.DictReader(StringIO(text)))
        rows = [row for row in rows if str(row.get("verdict") or "").strip()]
    elif path.suffix.lower() == ".json":
        try:
            content = json.loads(text)
        except ValueError as error:
            raise InputError(f"{path.name} is not valid JSON; export the decisions of the review anew") from error
        rows = content.get("decisions") if isinstance(content, dict) else None
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION or not isinstance(rows, list):
            raise InputError(f"{path.name} holds no decisions of schema {SCHEMA_VERSION}; export them from the review")
    else:
        raise InputError(f"decisions are read from .json or .csv, not from '{path.name}'; export them from the review")
    return [_decision(row, f"{path.name}, decision {number}") for number, row in enumerate(rows, start=1)]


def _decision(row: Any, where: str) -> Decision:
    if not isinstance(row, Mapping):
        raise InputError(f"{where} is a {type(row).__name__}, expected the fields of a decision")
    text = {key: str(row.get(key) or "").strip() for key in ("id", "record", "verdict", "by", "at", "model")}
    try:
        number = int(row["slice"])
        box = row["box"].split() if isinstance(row["box"], str) else row["box"]
        edges = _edges([float(edge) for edge in box])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where} has no slice number and box of four numbers; export the decisions anew") from error
    if text["verdict"] not in VERDICTS:
        raise InputError(f"{where} has verdict '{text['verdict']}'; expected {', '.join(VERDICTS)}")
    if not text["by"]:
        raise InputError(f"{where} does not tell who decided; fill in 'by'")
    if _instant(text["at"]) is None:
        raise InputError(f"{where} has time '{text['at']}'; expected one like 2026-01-31T12:00:00Z, with its zone")
    if text["id"] != suspect_id(text["record"], number, edges):
        raise InputError(f"{where} has an id that does not belong to its record, slice and box; export it anew")
    verdict: Verdict = text["verdict"]  # type: ignore[assignment]
    return Decision(text["id"], text["record"], number, edges, verdict, text["by"], text["at"], text["model"])


def _answer(target: Annotation, one: Decision, unknown: UnknownUse, supersede: bool) -> None:
    """Add an answer to its annotation; the latest of all rules."""
    reviews = target.setdefault("reviews", [])
    if one.review() in reviews:
        return
    if reviews and _contradicts(reviews[-1]["verdict"], one.verdict) and not supersede:
        raise InputError(
            f"find {one.id} on slice {one.slice} of {one.record} was {reviews[-1]['verdict']} at {reviews[-1]['at']}, "
            f"and is {one.verdict} now; pass --supersede to let the later answer rule"
        )
    reviews.append(one.review())
    reviews.sort(key=lambda review: _time(review["at"]))
    verdict = reviews[-1]["verdict"]
    target["kind"] = _KIND.get(verdict, unknown)


def _edges(box: Sequence[float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(edge) for edge in box)
    if not all(math.isfinite(edge) for edge in (x1, y1, x2, y2)):
        raise ValueError("a box has finite edges")
    return x1, y1, x2, y2


def _contradicts(before: Verdict, after: Verdict) -> bool:
    """An unknown box may be decided later; a decided one may not be changed without a word."""
    return before not in (after, "unknown")


def _time(text: str) -> datetime:
    """The time a text tells, to sort by; a text that tells none is older than all others."""
    return _instant(text) or datetime.min.replace(tzinfo=timezone.utc)


def _instant(text: str) -> datetime | None:
    """The time a text tells, None when it tells none or leaves the zone out."""
    try:
        instant = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else None
