"""One slice in one axes: the image, boxes with a dark halo, labels that keep clear of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke

from lesion_app.visualize.page import POINTS_PER_INCH, bare_axes
from lesion_app.visualize.palette import BoxStyle

Rect = tuple[float, float, float, float]
LABEL_POINTS = 8.0
_CHARACTER_ASPECT = 0.68  # mean advance of DejaVu Sans digits in em, a little generous
_LINE_HEIGHT = 1.45
_HALO = "#000000"


@dataclass(frozen=True)
class DrawnBox:
    """A box (x1, y1, x2, y2) in px of its image, its style and its label ("" for none)."""

    box: Rect
    style: BoxStyle
    label: str = ""


def show_slice(axes: Axes, grey: np.ndarray, frame: Rect, aspect: float = 1.0) -> None:
    """Show grey uint8 [H, W] (or RGB [H, W, 3]) in ``axes``, looking at ``frame`` (px), pixel k covering [k, k + 1).

    ``aspect`` is mm per px along y over mm per px along x.
    """
    height, width = grey.shape[:2]
    axes.imshow(
        grey,
        cmap="gray",
        vmin=0,
        vmax=255,
        origin="upper",
        extent=(0, width, height, 0),
        interpolation="hanning",
        aspect=aspect,
    )
    x1, y1, x2, y2 = frame
    axes.set_xlim(x1, x2)
    axes.set_ylim(y2, y1)
    axes.set_facecolor("black")
    bare_axes(axes)


def box_patch(box: Rect, style: BoxStyle) -> Rectangle:
    """The outline of ``box`` (px) in ``style``."""
    x1, y1, x2, y2 = box
    patch = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=style.color, linewidth=style.width)
    patch.set_joinstyle("miter")
    if style.dashes:
        # matplotlib multiplies dash lengths by the line width
        patch.set_linestyle((0, tuple(length / style.width for length in style.dashes)))
    return patch


def draw_boxes(axes: Axes, drawn: Sequence[DrawnBox], obstacles: Sequence[Rect] = ()) -> None:
    """Draw boxes and their labels into axes made by ``show_slice``; labels stay out of ``obstacles`` (px) if they can.

    The first boxes get the best places for their labels.
    """
    for item in drawn:
        patch = axes.add_patch(box_patch(item.box, item.style))
        patch.set_path_effects([Stroke(linewidth=item.style.width + 1.4, foreground=_HALO, alpha=0.55), Normal()])
    labelled = [item for item in drawn if item.label]
    per_point = _px_per_point(axes)
    sizes = np.array(
        [((len(item.label) * _CHARACTER_ASPECT + 0.5) * LABEL_POINTS, _LINE_HEIGHT * LABEL_POINTS) for item in labelled]
    ).reshape(-1, 2) * np.array(per_point)
    (x1, x2), (y2, y1) = axes.get_xlim(), axes.get_ylim()
    corners = place_labels(
        [item.box for item in labelled], sizes, (x1, y1, x2, y2), [*(item.box for item in drawn), *obstacles]
    )
    for item, (x, y), (width, height) in zip(labelled, corners, sizes):
        axes.text(
            x + width / 2,
            y + height / 2,
            item.label,
            color=item.style.color,
            fontsize=LABEL_POINTS,
            family="DejaVu Sans",
            fontweight="bold",
            ha="center",
            va="center_baseline",
            clip_on=True,
            bbox={"boxstyle": "square,pad=0.12", "facecolor": _HALO, "alpha": 0.6, "linewidth": 0},
        )


def write_side_letter(axes: Axes, x: float, letter: str, align: str) -> None:
    """Write R, L ... half way up a picture; ``x`` in axes fraction, ``align`` "left" or "right"; "" writes nothing."""
    text = axes.text(x, 0.5, letter, transform=axes.transAxes, color="white", fontsize=8, ha=align, va="center")
    text.set_path_effects([Stroke(linewidth=1.8, foreground=_HALO, alpha=0.7), Normal()])


def place_labels(boxes: Sequence[Rect], sizes: np.ndarray, frame: Rect, obstacles: Sequence[Rect]) -> np.ndarray:
    """Choose a place for each box's label that covers as little as possible.

    Tries above, below, right and left of the box; takes the first that stays in the frame and covers no box,
    obstacle or earlier label, else the one that covers least.

    Args:
        boxes: N boxes (x1, y1, x2, y2) px.
        sizes: [N, 2] width and height of the labels, px.
        frame: visible part of the image, px.
        obstacles: boxes px that labels should not cover.

    Returns:
        [N, 2] top left corners of the labels, px.
    """
    taken = [np.asarray(o, float) for o in obstacles]
    corners = np.zeros((len(boxes), 2))
    for index, ((x1, y1, x2, y2), (width, height)) in enumerate(zip(boxes, sizes)):
        gap = 0.2 * height
        middle = (y1 + y2 - height) / 2
        above, below = y1 - height - gap, y2 + gap
        candidates = np.array(
            [
                (x1, above),
                (x2 - width, above),
                (x1, below),
                (x2 - width, below),
                (x2 + gap, middle),
                (x1 - width - gap, middle),
                (x2 + gap, above),
                (x1 - width - gap, below),
                (x1 - width - gap, above),
                (x2 + gap, below),
            ]
        )
        rects = np.hstack([candidates, candidates + (width, height)])
        inside = _overlap(rects, np.asarray(frame, float)[None])[:, 0]
        cost = (width * height - inside) * 4 + _overlap(rects, np.reshape(taken, (-1, 4))).sum(axis=1)
        best = int(np.argmin(np.round(cost, 6)))
        corners[index] = candidates[best]
        taken.append(rects[best])
    return corners


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Area shared by rectangles [N, 4] and [M, 4]: [N, M]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=-1)


def _px_per_point(axes: Axes) -> tuple[float, float]:
    """Image px covered by one typographic point along x and y."""
    size = axes.get_position()
    inches = axes.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    (x1, x2), (y2, y1) = axes.get_xlim(), axes.get_ylim()
    return (
        abs(x2 - x1) / (size.width * inches[0] * POINTS_PER_INCH),
        abs(y2 - y1) / (size.height * inches[1] * POINTS_PER_INCH),
    )
