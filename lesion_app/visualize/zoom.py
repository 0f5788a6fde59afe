"""A magnified view of one lesion, without its box, in a corner of its tile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from lesion_app.visualize.palette import PREDICTED
from lesion_app.visualize.tile import Rect

_SHARE = 0.3  # of the tile's shorter side
_FIELD = 2.8  # field of view over the lesion's long side
_LEAST_FIELD_MM = 42.0  # less shows blur, and nothing to recognise the place by
_LEAST_GAIN = 1.5


def zoom_corner(
    frame: Rect, spacing_mm: tuple[float, float], box: Rect, drawn: Sequence[Rect], body: np.ndarray
) -> Rect | None:
    """Corner of the tile that covers no box and least of the body; None when there is none, or nothing to gain.

    Args:
        frame: visible part of the slice, px.
        spacing_mm: (x, y) mm per px.
        box: the lesion, px.
        drawn: boxes that must stay visible, px.
        body: bool [H, W].

    Returns:
        (x1, y1, x2, y2) px, a square in mm.
    """
    x1, y1, x2, y2 = frame
    side_mm = _SHARE * min((x2 - x1) * spacing_mm[0], (y2 - y1) * spacing_mm[1])
    if side_mm < _LEAST_GAIN * _field_mm(box, spacing_mm):
        return None
    side, tall = side_mm / spacing_mm[0], side_mm / spacing_mm[1]
    corners = [
        (x1, y1, x1 + side, y1 + tall),
        (x2 - side, y1, x2, y1 + tall),
        (x1, y2 - tall, x1 + side, y2),
        (x2 - side, y2 - tall, x2, y2),
    ]
    free = [c for c in corners if not any(_touch(c, other) for other in drawn)]
    if not free:
        return None
    return min(free, key=lambda c: body[int(c[1]) : int(c[3]), int(c[0]) : int(c[2])].mean())


def draw_zoom(
    axes: Axes, grey: np.ndarray, corner: Rect, box: Rect, spacing_mm: tuple[float, float], label: str = ""
) -> None:
    """Show the surroundings of ``box`` in ``corner`` (px of the slice shown in ``axes``); ``grey`` uint8 [H, W]."""
    height, width = grey.shape
    x1, y1, x2, y2 = corner
    inset = axes.inset_axes((x1, y1, x2 - x1, y2 - y1), transform=axes.transData)
    half = _field_mm(box, spacing_mm) / 2
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    inset.imshow(
        grey,
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=(0, width, height, 0),
        interpolation="bicubic",
        aspect="auto",
    )
    inset.set_xlim(x - half / spacing_mm[0], x + half / spacing_mm[0])
    inset.set_ylim(y + half / spacing_mm[1], y - half / spacing_mm[1])
    inset.set_facecolor("black")
    inset.set_xticks([])
    inset.set_yticks([])
    for spine in inset.spines.values():
        spine.set_color(PREDICTED.color)
        spine.set_linewidth(0.9)
    if label:
        inset.text(
            0.06,
            0.94,
            label,
            transform=inset.transAxes,
            color=PREDICTED.color,
            fontsize=7.5,
            weight="bold",
            va="top",
            bbox={"boxstyle": "square,pad=0.15", "facecolor": "black", "alpha": 0.6, "linewidth": 0},
        )


def _field_mm(box: Rect, spacing_mm: tuple[float, float]) -> float:
    """Side of the zoom's square field of view."""
    return max(_FIELD * max((box[2] - box[0]) * spacing_mm[0], (box[3] - box[1]) * spacing_mm[1]), _LEAST_FIELD_MM)


def _touch(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
