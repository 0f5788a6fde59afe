"""The XML of LIDC-IDRI: what each of four readers outlined in one scan.

Armato et al., "The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative (IDRI)", Med. Phys.
38(2), 2011; McNitt-Gray et al., "The Lung Image Database Consortium (LIDC) data collection process for nodule detection
and annotation", Acad. Radiol. 14(12), 2007.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image, ImageDraw

from lesion_app.errors import InputError

# Readings of the chest radiographs that some patients have beside their CT.
_RADIOGRAPHS = "IdriReadMessage"
_CT = "LidcReadMessage"


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed outline on one slice.

    Args:
        z_mm: DICOM z of the slice, mm.
        points: ``[N, 2]`` int64 (column, row) of the pixels of the outline, 0-based, in order.
        inclusion: False for the outline of a hole.
    """

    z_mm: float
    points: np.ndarray
    inclusion: bool


@dataclass(frozen=True, eq=False)
class ReaderNodule:
    """One nodule of at least 3 mm as one reader saw it.

    Args:
        reader: number of the reading session, from 0. Sessions of two scans are not of the same reader.
        malignancy: 1 (highly unlikely) to 5 (highly suspicious), or None.
        outlines: at least one.
    """

    reader: int
    malignancy: int | None
    outlines: tuple[Outline, ...]


@dataclass(frozen=True)
class ScanReading:
    """All readings of one CT series.

    Args:
        series_uid: whose.
        readers: number of reading sessions, those without a nodule included.
        nodules: of all readers.
    """

    series_uid: str
    readers: int
    nodules: tuple[ReaderNodule, ...]


def read_lidc_xml(path: Path) -> ScanReading | None:
    """Read one XML file of TCIA's distribution.

    Nodules below 3 mm, which readers mark with a single point and do not rate, and non-nodules are left out.

    Returns:
        the reading, or None for one of a chest radiograph.

    Raises:
        InputError: no XML, none of LIDC's, or numbers that are none.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(
            f"{path.name} cannot be read as XML ({type(error).__name__}); expected a complete file of LIDC-IDRI, so "
            "download it anew"
        ) from error
    kind = _name(root)
    if kind == _RADIOGRAPHS:
        return None
    if kind != _CT:
        raise InputError(f"{path.name} holds <{kind}>; expected LIDC-IDRI's <{_CT}>, so remove that file")
    uid = next((text for e in root.iter() if _name(e).lower() == "seriesinstanceuid" and (text := _text(e))), None)
    if uid is None:
        raise InputError(f"{path.name} names no SeriesInstanceUid; expected the series it was read from")
    sessions = [e for e in root if _name(e) == "readingSession"]
    try:
        nodules = tuple(
            nodule
            for number, session in enumerate(sessions)
            for element in _children(session, "unblindedReadNodule")
            if (nodule := _nodule(element, number)) is not None
        )
    except ValueError as error:
        raise InputError(
            f"{path.name} holds an outline whose numbers cannot be read ({error}); expected whole pixels and mm, so "
            "download it anew"
        ) from error
    return ScanReading(uid, len(sessions), nodules)


def filled(outline: Outline, origin: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Pixels strictly inside an outline, bool ``[rows, columns]``.

    Readers draw the first pixels outside a nodule, so the outline itself is no part of it (McNitt-Gray et al., 2007).

    Args:
        outline: points in px of the slice.
        origin: (column, row) of the window's corner.
        shape: (rows, columns) of the window.
    """
    image = Image.new("L", (shape[1], shape[0]))
    points = [(int(x) - origin[0], int(y) - origin[1]) for x, y in outline.points]
    if len(points) > 2:
        pen = ImageDraw.Draw(image)
        pen.polygon(points, fill=1)
        pen.line([*points, points[0]], fill=0)
    return np.asarray(image, dtype=bool)


def _nodule(element: ElementTree.Element, reader: int) -> ReaderNodule | None:
    outlines = []
    for roi in _children(element, "roi"):
        points = [
            (int(_value(edge, "xCoord") or ""), int(_value(edge, "yCoord") or "")) for edge in _children(roi, "edgeMap")
        ]
        z = float(_value(roi, "imageZposition") or "")
        if not math.isfinite(z):
            raise ValueError(f"imageZposition {z}")
        inclusion = (_value(roi, "inclusion") or "TRUE").upper() != "FALSE"
        outlines.append(Outline(z, np.array(points, dtype=np.int64).reshape(-1, 2), inclusion))
    if not any(len(outline.points) > 1 for outline in outlines):
        return None
    rating = next((v for e in _children(element, "characteristics") if (v := _value(e, "malignancy"))), None)
    malignancy = int(rating) if rating is not None and rating.isdigit() and 1 <= int(rating) <= 5 else None
    return ReaderNodule(reader, malignancy, tuple(outlines))


def _name(element: ElementTree.Element) -> str:
    """The tag without its namespace, which differs between releases."""
    return element.tag.rpartition("}")[2]


def _children(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (child for child in element if _name(child) == name)


def _value(element: ElementTree.Element, name: str) -> str | None:
    return next((text for child in _children(element, name) if (text := _text(child))), None)


def _text(element: ElementTree.Element) -> str | None:
    return (element.text or "").strip() or None
