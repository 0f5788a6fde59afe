"""A confusion matrix as a picture: shares of each true type, counts within."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike

from lesion_app.visualize.page import Page
from lesion_app.visualize.palette import INK, MUTED, PAGE, SERIES

_CELL = 0.62
_TOP, _LEFT = 1.75, 1.5


def draw_confusion(matrix: ArrayLike, class_names: Sequence[str], out: Path, *, title: str = "") -> Path:
    """Draw true types (rows) against predicted ones (columns).

    A cell is as dark as its share of the row's lesions; its count stands within. The last column, "missed", and the
    last row, "no lesion", stand apart; the latter is shaded by its share of the row, too.

    Args:
        matrix: ``[C + 1, C + 1]`` counts, see `lesion_app.metrics.confusion_matrix.confusion_matrix`.
        class_names: C names.
        out: .png, .pdf or .svg file.
        title: heading of the page.

    Returns:
        ``out``.

    Raises:
        ValueError: when the matrix does not fit the names.
        InputError: when ``out`` cannot be written.
    """
    counts = np.asarray(matrix)
    side = len(class_names) + 1
    if counts.shape != (side, side):
        raise ValueError(f"a matrix for {len(class_names)} types is {side} x {side}, got {list(counts.shape)}")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    page = Page(_LEFT + side * _CELL + 0.95, _TOP + side * _CELL + 0.35, dpi=120)
    page.text(0.25, 0.18, title or "Confusion matrix", size=12, weight="bold")
    page.text(0.25, 0.48, "Shade: share of the row. Number: lesions, in the last row detections.", 9, MUTED)
    axes = page.axes(_LEFT, _TOP, side * _CELL, side * _CELL)
    colours = LinearSegmentedColormap.from_list("share", [PAGE, SERIES[0]])
    axes.imshow(share, cmap=colours, vmin=0, vmax=1)
    for row in range(side):
        for column in range(side):
            if row == column == side - 1:
                continue
            color = PAGE if share[row, column] > 0.55 else INK if counts[row, column] else MUTED
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", fontsize=9, color=color)
    axes.set_xticks(range(side), [*class_names, "missed"], rotation=40, ha="left", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(range(side), [*class_names, "no lesion"], fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=INK)
    axes.set_xlabel("predicted type", fontsize=10, color=MUTED)
    axes.set_ylabel("true type", fontsize=10, color=MUTED)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xticks(np.arange(1, side) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, side) - 0.5, minor=True)
    axes.grid(which="minor", color=PAGE, linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    for line in (axes.axhline, axes.axvline):
        line(side - 1.5, color=MUTED, linewidth=1)
    return page.save(out)
