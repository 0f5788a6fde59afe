"""Contact sheet of a toy data set: images of both classes, their boxes and what the masks say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lesion_app.visualize.legend import draw_legend
from lesion_app.visualize.page import Page
from lesion_app.visualize.palette import LABELLED, MUTED
from lesion_app.visualize.tile import DrawnBox, Rect, draw_boxes, show_slice

_TILE, _GAP, _CAPTION, _HEAD = 2.4, 0.14, 0.26, 1.0


def draw_toy_sheet(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    boxes: Sequence[Rect],
    labels: Sequence[int],
    out: Path,
    *,
    title: str = "Toy data",
) -> Path:
    """Draw each image above its mask, with its box.

    Args:
        images: ``[H, W]`` float; grey levels run from the least to the greatest value of all.
        masks: ``[H, W]`` bool, one an image.
        boxes: (x1, y1, x2, y2) px, half-open.
        labels: classes.
        out: .png, .pdf or .svg file.
        title: heading.

    Returns:
        ``out``.

    Raises:
        ValueError: no image, or the four differ in length.
        InputError: when ``out`` cannot be written.
    """
    if not len(images) or not len(images) == len(masks) == len(boxes) == len(labels):
        raise ValueError(f"expected as many masks, boxes and labels as images, at least one; got {len(images)} images")
    columns = min(len(images), 6)
    rows = -(-len(images) // columns)
    block = 2 * _TILE + _CAPTION + 2 * _GAP
    page = Page(max(0.6 + columns * (_TILE + _GAP) - _GAP, 5.0), _HEAD + rows * block + 0.16)
    page.text(0.3, 0.2, title, size=14, weight="bold")
    draw_legend(page, 0.3, 0.58, [("object as annotated; its mask below", LABELLED)])
    low, high = min(float(i.min()) for i in images), max(float(i.max()) for i in images)
    for index, (image, mask, box, label) in enumerate(zip(images, masks, boxes, labels)):
        row, column = divmod(index, columns)
        left, top = 0.3 + column * (_TILE + _GAP), _HEAD + row * block
        height, width = image.shape
        page.text(left, top + 0.04, f"class {label}", size=9.5, weight="bold")
        x1, y1, x2, y2 = box
        page.text(left + _TILE, top + 0.05, f"{x2 - x1:g} x {y2 - y1:g} px", size=8.5, color=MUTED, ha="right")
        grey = np.clip((image - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
        for place, picture in enumerate((grey, mask.astype(np.uint8) * 200)):
            axes = page.axes(left, top + _CAPTION + place * (_TILE + _GAP / 2), _TILE, _TILE)
            show_slice(axes, picture, (0, 0, width, height))
            draw_boxes(axes, [DrawnBox(box, LABELLED)])
    return page.save(out)
