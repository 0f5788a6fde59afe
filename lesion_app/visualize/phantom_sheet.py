"""Contact sheet of a DeepLesion-format data set: what is labelled, and what is known to have been left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lesion_app.visualize.ct_window import Window, body_crop, body_mask, choose_window, window_named
from lesion_app.visualize.legend import draw_legend
from lesion_app.visualize.page import Page
from lesion_app.visualize.palette import IGNORED, LABELLED, MINED, MUTED, UNLABELLED, BoxStyle
from lesion_app.visualize.tile import DrawnBox, Rect, draw_boxes, show_slice

Record = Mapping[str, Any]
ReadSlice = Callable[[Record, int], np.ndarray]

_STYLES: dict[str, tuple[str, BoxStyle]] = {
    "lesion": ("labelled lesion", LABELLED),
    "mined": ("mined lesion", MINED),
    "ignore": ("ignored region", IGNORED),
}
_UNLABELLED = ("lesion without a label (truth)", UNLABELLED)
_TILE, _GAP, _CAPTION, _HEAD = 3.5, 0.14, 0.26, 1.0


def draw_data_sheet(
    records: Sequence[Record],
    read_slice: ReadSlice,
    out: Path,
    *,
    tiles: int = 12,
    seed: int = 0,
    window: tuple[float, float] | str = "auto",
    title: str = "DeepLesion-format data",
) -> Path:
    """Draw random annotated slices with their boxes: labelled solid green, unlabelled lesions dashed orange.

    Records are drawn without replacement, then one of each record's annotated slices; the same seed gives the same
    sheet. A lesion of ``truth`` counts as labelled when its centre lies in a box annotated on the same slice. Tiles
    carry slice number and spacing, nothing of the patient.

    Args:
        records: datalist dicts with ``spacing_mm`` (x, y, z), ``annotations`` [{slice, box, kind}] and, where known,
            ``truth`` [{slice, box}]; slices are file numbers, boxes px of the original slice, 0-based, half-open.
        read_slice: ``read_slice(record, slice number)`` -> HU [H, W].
        out: .png, .pdf or .svg file.
        tiles: most slices shown, >= 1.
        seed: of the random choice.
        window: (center, width) in HU, or "auto": lung or soft tissue, by the surroundings of each tile's first box.
        title: heading.

    Returns:
        ``out``.

    Raises:
        ValueError: when no record has an annotation, or for a kind of box that is not lesion, mined or ignore.
        InputError: when ``out`` cannot be written; whatever ``read_slice`` raises passes through.
    """
    if isinstance(window, str) and window != "auto":
        raise ValueError(f"window is (center, width) in HU or 'auto', got {window!r}")
    chosen = _choose(records, tiles, seed)
    columns = min(len(chosen), 4)
    rows = -(-len(chosen) // columns)
    page = Page(max(0.6 + columns * (_TILE + _GAP) - _GAP, 7.2), _HEAD + rows * (_TILE + _CAPTION + _GAP) + 0.16)
    page.text(0.3, 0.2, title, size=14, weight="bold")
    used: dict[str, BoxStyle] = {}
    for index, (record, number) in enumerate(chosen):
        row, column = divmod(index, columns)
        left, top = 0.3 + column * (_TILE + _GAP), _HEAD + row * (_TILE + _CAPTION + _GAP)
        used.update(_tile(page, left, top, record, number, np.asarray(read_slice(record, number)), window))
    # the usual kinds first, whatever order the tiles brought them in
    order = [text for text, _ in [*_STYLES.values(), _UNLABELLED] if text in used]
    draw_legend(page, 0.3, 0.58, [(text, used[text]) for text in order])
    return page.save(out)


def _choose(records: Sequence[Record], tiles: int, seed: int) -> list[tuple[Record, int]]:
    if tiles < 1:
        raise ValueError(f"a data sheet has at least 1 tile, got {tiles}")
    annotated = [(r, sorted({int(a["slice"]) for a in r["annotations"]})) for r in records if r["annotations"]]
    if not annotated:
        raise ValueError(f"a data sheet needs a record with annotations, got {len(records)} records without any")
    generator = np.random.default_rng(seed)
    picked = generator.permutation(len(annotated))[:tiles]
    return [(annotated[i][0], annotated[i][1][int(generator.integers(len(annotated[i][1])))]) for i in picked]


def _tile(
    page: Page, left: float, top: float, record: Record, number: int, hu: np.ndarray, window: tuple[float, float] | str
) -> dict[str, BoxStyle]:
    """Draw one slice and return the legend entries it needs."""
    drawn, used = _boxes_on(record, number)
    spacing = tuple(float(s) for s in record["spacing_mm"])
    body = body_mask(hu)
    if isinstance(window, str):
        shown: Window = choose_window(hu, np.asarray(drawn[0].box), body, (spacing[0], spacing[1]))
    else:
        shown = window_named(window)
    aspect = spacing[1] / spacing[0]
    page.text(left, top + 0.04, f"slice {number}", size=9.5, weight="bold")
    words = f"{spacing[0]:.2g} mm pixels, {spacing[2]:g} mm slices, {shown.name}"
    page.text(left + _TILE, top + 0.05, words, size=8.5, color=MUTED, ha="right")
    axes = page.axes(left, top + _CAPTION, _TILE, _TILE)
    show_slice(axes, shown.apply(hu), _square(body_crop(body[None]), [d.box for d in drawn], aspect, hu.shape), aspect)
    draw_boxes(axes, drawn)
    return used


def _boxes_on(record: Record, number: int) -> tuple[list[DrawnBox], dict[str, BoxStyle]]:
    drawn: list[DrawnBox] = []
    used: dict[str, BoxStyle] = {}
    for annotation in record["annotations"]:
        if int(annotation["slice"]) != number:
            continue
        kind = annotation.get("kind", "lesion")
        if kind not in _STYLES:
            raise ValueError(f"annotation kind {kind!r} is none of {', '.join(_STYLES)}")
        text, style = _STYLES[kind]
        drawn.append(DrawnBox(tuple(float(v) for v in annotation["box"]), style))  # type: ignore[arg-type]
        used[text] = style
    labelled = np.array([d.box for d in drawn])
    for lesion in record.get("truth", ()):
        if int(lesion["slice"]) != number:
            continue
        x1, y1, x2, y2 = (float(v) for v in lesion["box"])
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        inside = (labelled[:, 0] <= x) & (x < labelled[:, 2]) & (labelled[:, 1] <= y) & (y < labelled[:, 3])
        if not inside.any():
            drawn.append(DrawnBox((x1, y1, x2, y2), UNLABELLED))
            used[_UNLABELLED[0]] = UNLABELLED
    return drawn, used


def _square(crop: tuple[int, int, int, int], boxes: Sequence[Rect], aspect: float, shape: tuple[int, ...]) -> Rect:
    """Smallest frame around crop and boxes that is square in mm, in px."""
    low = np.min([crop[:2], *(b[:2] for b in boxes)], axis=0)
    high = np.max([crop[2:], *(b[2:] for b in boxes)], axis=0)
    middle, size = (low + high) / 2, (high - low) * (1, aspect)
    half = size.max() / 2 * np.array([1, 1 / aspect])
    # moved into the image as far as it fits and nothing is lost; what reaches beyond the image stays black
    image = np.array([shape[1], shape[0]], float)
    inside = np.where(2 * half <= image, np.clip(middle, half, np.maximum(image - half, half)), image / 2)
    middle = np.clip(inside, high - half, low + half)
    (x1, y1), (x2, y2) = (middle - half).tolist(), (middle + half).tolist()
    return x1, y1, x2, y2
