"""The record: what every data set's reader yields, one JSON-able dict a sub-volume."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypedDict, get_args

from lesion_app.errors import InputError

Kind = Literal["lesion", "ignore", "mined", "negative"]
KINDS: tuple[str, ...] = get_args(Kind)
UNKNOWN_TYPE = -1
Verdict = Literal["confirmed", "rejected", "unknown"]
VERDICTS: tuple[str, ...] = get_args(Verdict)

# How a mined box was found (LENS, section V); a cross-dataset one names the expert that found it.
_ORIGIN = re.compile(r"cross-slice|intra-patient|cross-dataset:[A-Za-z0-9][\w.-]*")
_SUB_VOLUME = re.compile(r"(?P<series>\w[\w-]*)_(?P<low>\d+)-(?P<high>\d+)")


class Sighting(TypedDict):
    """That a model found a box: which ``model`` (a name or the SHA-256 of its weights) and with which ``score``."""

    model: str
    score: float


class Review(TypedDict):
    """A reader's answer on a found box: the ``verdict``, ``by`` whom, when (``at``, ISO 8601 with time zone), and the
    version of the ``model`` whose find was looked at (empty when unknown)."""

    verdict: Verdict
    by: str
    at: str
    model: str


class _AnnotationRequired(TypedDict):
    slice: int
    box: list[float]
    label: int
    kind: Kind
    lesion_type: int
    noisy: bool


class Annotation(_AnnotationRequired, total=False):
    """A 2D box on one slice.

    ``slice`` is a file number of the series, ``box`` = (x1, y1, x2, y2) in px of the original slice,
    0-based with half-open edges, ``label`` 1 = lesion, ``kind`` says whether it is a target
    (``lesion``), neither lesion nor background (``ignore``), a teacher's find (``mined``) or a teacher's find known to
    be none (``negative``),
    ``lesion_type`` is DeepLesion's 1..8 or -1. ``extent`` (only where the source marks in 3D) is the
    half-open (x1, y1, z1, x2, y2, z2), z in file numbers, z2 = last slice + 1. ``lesion`` (0, 1, ...) is given where
    one lesion has boxes on several slices: equal numbers in one record are one 3D lesion. ``origin`` says how a box
    came to be when no reader marked it: ``cross-slice``, ``intra-patient``, or ``cross-dataset:<expert>``.
    ``sightings`` are the models that found it with their scores, oldest first; ``reviews`` what readers answered, the
    last one rules and the others stay.
    """

    extent: list[float]
    lesion: int
    origin: str
    sightings: list[Sighting]
    reviews: list[Review]


class TruthBox(TypedDict):
    """Where a lesion is known to be: file number of the slice, box as in :class:`Annotation`."""

    slice: int
    box: list[float]


class _RecordRequired(TypedDict):
    id: str
    image: str
    series_id: str
    patient_id: str
    dataset: str
    spacing_mm: list[float]
    size: list[int]
    slices: list[int]
    annotations: list[Annotation]


class Record(_RecordRequired, total=False):
    """One sub-volume: consecutive slices of one series, with its boxes.

    ``id`` names it (``000001_01_01_103-115``), ``image`` is the folder of slices relative to the data
    set's root, ``spacing_mm`` is (x, y, z), ``size`` is (width, height) in px, ``slices`` the first and
    last file number, both inclusive. ``truth`` holds every lesion on every slice where that is known
    (phantom): it measures mining and is never trained on. ``masks`` is the folder of the lesions' masks, relative to
    the data set's root: ``<NNN>.png`` for every slice with a lesion, pixels holding the annotations' ``lesion`` + 1;
    ``mask`` is the one of a 2D image.
    """

    truth: list[TruthBox]
    masks: str
    mask: str


class SubVolumeName(NamedTuple):
    """The parts of a sub-volume's name; ``low`` and ``high`` are file numbers, inclusive."""

    series_id: str
    low: int
    high: int

    @property
    def patient_id(self) -> str:
        return self.series_id.split("_")[0]

    def __str__(self) -> str:
        return f"{self.series_id}_{self.low:03d}-{self.high:03d}"


def parse_sub_volume(name: str) -> SubVolumeName:
    """Split ``<patient>_<study>_<series>_<first>-<last>``.

    Raises:
        InputError: when ``name`` is not of that form.
    """
    match = _SUB_VOLUME.fullmatch(name)
    if match is None or int(match["low"]) > int(match["high"]):
        raise InputError(
            f"'{name}' is not the name of a sub-volume; expected <patient>_<study>_<series>_<first>-<last>, "
            "as in 000001_01_01_103-115."
        )
    return SubVolumeName(match["series"], int(match["low"]), int(match["high"]))


def validate_record(record: Mapping[str, Any]) -> None:
    """Check one record: keys, types, positive spacing, boxes inside the image and on its slices.

    Raises:
        InputError: one sentence on the first thing that is wrong.
    """
    name = record.get("id", "without an id") if isinstance(record, Mapping) else "that is no dict"
    where = f"Record {name}"
    missing = sorted(set(_RecordRequired.__annotations__) - set(record)) if isinstance(record, Mapping) else ["id"]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}; make the datalist anew with `lesion-app prepare`.")
    for key in ("id", "image", "series_id", "patient_id", "dataset"):
        if not isinstance(record[key], str) or not record[key]:
            raise InputError(f"{where} has {key} = {record[key]!r}; expected a text that is not empty.")
    if not _numbers(record["spacing_mm"], 3) or min(record["spacing_mm"]) <= 0:
        raise InputError(
            f"{where} has spacing_mm = {record['spacing_mm']!r}; expected three positive numbers (x, y, z)."
        )
    if not _integers(record["size"], 2) or min(record["size"]) <= 0:
        raise InputError(f"{where} has size = {record['size']!r}; expected [width, height] in px.")
    if not _integers(record["slices"], 2) or not 0 <= record["slices"][0] <= record["slices"][1]:
        raise InputError(f"{where} has slices = {record['slices']!r}; expected [first, last] file number.")
    for key, check in (("annotations", _annotation_fault), ("truth", _place_fault)):
        entries = record.get(key, [])
        if not isinstance(entries, list):
            raise InputError(f"{where} has {key} of type {type(entries).__name__}; expected a list.")
        for number, entry in enumerate(entries):
            fault = check(entry, record)
            if fault:
                raise InputError(f"{where}, {key}[{number}]: {fault}.")


def _annotation_fault(entry: Any, record: Mapping[str, Any]) -> str:
    """What is wrong with an annotation, or an empty text."""
    fault = _place_fault(entry, record)
    if fault:
        return fault
    if not _is_integer(entry.get("label")) or entry["label"] < 1:
        return f"label is {entry.get('label')!r}, expected a whole number from 1"
    if entry.get("kind") not in KINDS:
        return f"kind is {entry.get('kind')!r}, expected {', '.join(KINDS)}"
    lesion_type = entry.get("lesion_type")
    if not _is_integer(lesion_type) or (lesion_type != UNKNOWN_TYPE and not 1 <= lesion_type <= 8):
        return f"lesion_type is {lesion_type!r}, expected 1 to 8, or -1 when unknown"
    if not isinstance(entry.get("noisy"), bool):
        return f"noisy is {entry.get('noisy')!r}, expected true or false"
    if "extent" in entry:
        extent = entry["extent"]
        if not _numbers(extent, 6) or any(high <= low for low, high in zip(extent[:3], extent[3:])):
            return f"extent is {extent!r}, expected (x1, y1, z1, x2, y2, z2) with every first below its second"
    if "lesion" in entry and (not _is_integer(entry["lesion"]) or entry["lesion"] < 0):
        return f"lesion is {entry['lesion']!r}, expected the number of the 3D lesion, a whole one from 0"
    origin = entry.get("origin", "cross-slice")
    if not isinstance(origin, str) or not _ORIGIN.fullmatch(origin):
        return f"origin is {origin!r}, expected cross-slice, intra-patient or cross-dataset:<expert>"
    return _sighting_fault(entry.get("sightings", [])) or _review_fault(entry.get("reviews", []))


def _sighting_fault(sightings: Any) -> str:
    """What is wrong with the list of sightings, or an empty text."""
    for one in sightings if isinstance(sightings, list) else [sightings]:
        score = one.get("score") if isinstance(one, Mapping) else None
        if not isinstance(one, Mapping) or not isinstance(one.get("model"), str):
            return f"a sighting is {one!r}, expected {{model, score}}"
        if not _numbers([score], 1) or not 0 <= score <= 1:  # type: ignore[operator]
            return f"a sighting has score {score!r}, expected a number from 0 to 1"
    return ""


def _review_fault(reviews: Any) -> str:
    """What is wrong with the list of reviews, or an empty text."""
    for one in reviews if isinstance(reviews, list) else [reviews]:
        if not isinstance(one, Mapping) or not all(isinstance(one.get(key), str) for key in ("by", "at", "model")):
            return "a review lacks by, at or model, expected {verdict, by, at, model}, all texts"
        if one.get("verdict") not in VERDICTS:
            return f"a review has verdict {one.get('verdict')!r}, expected {', '.join(VERDICTS)}"
    return ""


def _place_fault(entry: Any, record: Mapping[str, Any]) -> str:
    """What is wrong with an entry's slice and box, or an empty text."""
    if not isinstance(entry, Mapping):
        return f"found a {type(entry).__name__}, expected a dict"
    low, high = record["slices"]
    if not _is_integer(entry.get("slice")) or not low <= entry["slice"] <= high:
        return f"slice is {entry.get('slice')!r}, expected a file number from {low} to {high}"
    box = entry.get("box")
    width, height = record["size"]
    if box is None or not _numbers(box, 4):
        return f"box is {box!r}, expected four numbers (x1, y1, x2, y2)"
    x1, y1, x2, y2 = box
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        return f"box {box} is empty, inverted or leaves the {width} x {height} px image"
    return ""


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _integers(value: Any, count: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == count and all(map(_is_integer, value))


def _numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == count
        and all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in value)
    )
