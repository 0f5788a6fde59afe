"""The review sheet: one HTML file with every suspect's crop, to be answered with the keyboard, without any network."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lesion_app.atomic_file import replacing
from lesion_app.data.record import Annotation, Record
from lesion_app.errors import InputError
from lesion_app.labeling.decisions import SCHEMA_VERSION, Decision
from lesion_app.labeling.review_queue import Suspect, expected_missing
from lesion_app.visualize.ct_window import Window, body_mask, choose_window
from lesion_app.visualize.palette import IGNORED, LABELLED, UNLABELLED
from transforms.ct_reader import open_ct

FIELD_MM = 100.0
"""Side of the crops: what a reader needs to know where in the body he is."""
OVERVIEW_PX = 220
_PLACEHOLDER = "/*REVIEW_DATA*/"


def write_review_sheet(
    out: Path,
    suspects: Sequence[Suspect],
    records: Sequence[Record],
    *,
    title: str = "Review of suspected lesions",
    decisions: Sequence[Decision] = (),
    field_mm: float = FIELD_MM,
) -> Path:
    """Write the sheet: crops of the slice and of its two neighbours, an overview, score history, origin, three answers.

    The file holds its pictures and its program, loads nothing and sends nothing (a content security policy forbids
    it). Answers are kept in the browser's local storage and leave it as a JSON or CSV of decisions.

    Args:
        out: .html file; an existing one is refused.
        suspects: in the order of the sheet.
        records: with absolute image paths; those of the suspects among them.
        title: heading; no patient data.
        decisions: answers to begin with.
        field_mm: side of the crops in mm.

    Raises:
        InputError: nothing to review, another suffix, an existing file, a suspect of no record, unreadable images.
    """
    out = Path(out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"the review sheet is an .html file, not '{out.name}'; rename it")
    if out.exists():
        raise InputError(f"{out} exists and may hold somebody's work; name another file for the review sheet")
    if not suspects:
        raise InputError(
            "there is no found box that waits for an answer; mine some first with the bundle's configs/mine.json, "
            "and name the datalist that it writes"
        )
    by_id = {record["id"]: record for record in records}
    strangers = [one.record for one in suspects if one.record not in by_id]
    if strangers:
        raise InputError(f"the datalist has no record {strangers[0]}; name the one that the finds were made on")
    expected = expected_missing(suspects)
    shown = {suspect.id for suspect in suspects}
    given = [{**one.review(), "id": one.id} for one in decisions if one.id in shown]
    content = {
        "schema_version": SCHEMA_VERSION,
        "title": title,
        "key": hashlib.sha256(json.dumps([[one.id for one in suspects], given]).encode()).hexdigest()[:16],
        "colours": {"suspect": UNLABELLED.color, "lesion": LABELLED.color, "other": IGNORED.color},
        "suspects": [_card(one, by_id[one.record], expected[one.record], field_mm) for one in suspects],
        "decisions": given,
    }
    template = files("lesion_app.labeling").joinpath("review_sheet.html").read_text(encoding="utf-8")
    try:
        with replacing(out) as temporary:
            temporary.write_text(template.replace(_PLACEHOLDER, _script_json(content), 1), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}); choose a place you may write to") from error
    return out


def _card(suspect: Suspect, record: Record, expected: float, field_mm: float) -> dict[str, Any]:
    low, high = record["slices"]
    source = open_ct(record["image"], spacing_mm=record["spacing_mm"], slices=record["slices"])
    numbers = [n for n in (suspect.slice - 1, suspect.slice, suspect.slice + 1) if low <= n <= high]
    planes = source.read([n - low for n in numbers]).numpy()
    spacing = (float(source.geometry.spacing_mm[0]), float(source.geometry.spacing_mm[1]))
    centre = planes[numbers.index(suspect.slice)]
    window = choose_window(centre, np.asarray(suspect.box), body_mask(centre), spacing)
    near = [a for a in record["annotations"] if not _is_suspect(a, suspect)]
    return {
        "id": suspect.id,
        "record": suspect.record,
        "slice": suspect.slice,
        "box": list(suspect.box),
        "origin": suspect.origin,
        "model": suspect.model,
        "sightings": [{"model": model, "score": score} for model, score in suspect.sightings],
        "expected": round(expected, 2),
        "size_mm": [round((suspect.box[k + 2] - suspect.box[k]) * spacing[k], 1) for k in (0, 1)],
        "window": f"{window.name} {window.center:g}/{window.width:g}",
        "views": [
            _view(plane, number, suspect, near, window, spacing, field_mm) for number, plane in zip(numbers, planes)
        ],
        "overview": _overview(centre, suspect, window, spacing),
    }


def _is_suspect(annotation: Annotation, suspect: Suspect) -> bool:
    return annotation["slice"] == suspect.slice and tuple(annotation["box"]) == suspect.box


def _view(
    plane: np.ndarray,
    number: int,
    suspect: Suspect,
    near: Sequence[Annotation],
    window: Window,
    spacing: tuple[float, float],
    field_mm: float,
) -> dict[str, Any]:
    """A square of ``field_mm`` around the box as a PNG, with the boxes in px of the crop."""
    x1, y1, x2, y2 = suspect.box
    side = max(field_mm, 1.6 * (x2 - x1) * spacing[0], 1.6 * (y2 - y1) * spacing[1])
    width, height = (max(8, round(side / mm)) for mm in spacing)
    left, top = round((x1 + x2 - width) / 2), round((y1 + y2 - height) / 2)
    grey = np.zeros((height, width), np.uint8)  # black beyond the image's edge
    rows, columns = slice(max(top, 0), max(top + height, 0)), slice(max(left, 0), max(left + width, 0))
    seen = window.apply(plane[rows, columns])
    down, across = max(-top, 0), max(-left, 0)
    grey[down : down + seen.shape[0], across : across + seen.shape[1]] = seen
    boxes = [
        {"box": _shifted(a["box"], left, top), "kind": "lesion" if a["kind"] == "lesion" else "other"}
        for a in near
        if a["slice"] == number and a["kind"] in ("lesion", "negative", "ignore")
    ]
    if number == suspect.slice:
        boxes.append({"box": _shifted(suspect.box, left, top), "kind": "suspect"})
    return {
        "slice": number,
        "width": width,
        "height": height,
        "aspect": round(width * spacing[0] / (height * spacing[1]), 4),
        "src": _data_uri(grey, "PNG"),
        "boxes": boxes,
    }


def _overview(plane: np.ndarray, suspect: Suspect, window: Window, spacing: tuple[float, float]) -> dict[str, Any]:
    """The whole slice, small, with the box in px of the ORIGINAL slice."""
    height, width = plane.shape
    longest = max(width * spacing[0], height * spacing[1])
    size = (
        max(1, round(OVERVIEW_PX * width * spacing[0] / longest)),
        max(1, round(OVERVIEW_PX * height * spacing[1] / longest)),
    )
    small = Image.fromarray(window.apply(plane)).resize(size, Image.Resampling.BOX)
    return {
        "width": width,
        "height": height,
        "aspect": round(size[0] / size[1], 4),
        "src": _data_uri(np.asarray(small), "JPEG"),
        "boxes": [{"box": [round(edge, 2) for edge in suspect.box], "kind": "suspect"}],
    }


def _shifted(box: Sequence[float], left: int, top: int) -> list[float]:
    return [round(box[0] - left, 2), round(box[1] - top, 2), round(box[2] - left, 2), round(box[3] - top, 2)]


def _data_uri(grey: np.ndarray, kind: str) -> str:
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, kind, **({"quality": 80} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"


def _script_json(content: Mapping[str, Any]) -> str:
    """JSON that can stand in a script element: no text in it can end the element or start another."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
