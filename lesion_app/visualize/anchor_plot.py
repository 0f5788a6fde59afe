"""The boxes of a data set by width and height, with the anchors made for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.patches import Rectangle

from lesion_app.visualize.page import Page, style_plot_axes
from lesion_app.visualize.palette import INK, MUTED, SERIES

_PLOT_IN = 4.4
_LARGEST_SHARE = 0.995


def plot_anchors(sides: np.ndarray, anchors: np.ndarray, mean_iou: float, out: Path) -> Path:
    """Draw widths and heights of boxes with the anchors among them, and the anchors around one centre.

    Args:
        sides: ``[N, 2]`` (width, height) px of the boxes.
        anchors: ``[K, 2]``, likewise.
        mean_iou: mean IoU of a box with its best anchor, for the heading.
        out: .png, .pdf or .svg file.

    Returns:
        ``out``.

    Raises:
        InputError: when ``out`` cannot be written.
    """
    page = Page(2 * _PLOT_IN + 1.9, _PLOT_IN + 1.5, dpi=120)
    page.text(0.3, 0.2, "Anchors", size=14, weight="bold")
    page.text(0.3, 0.5, f"{len(sides):,} boxes, {len(anchors)} anchors, mean IoU {mean_iou:.3f}", size=9.5, color=MUTED)
    # A few giants would squeeze everything else into a corner.
    limit = 1.05 * max(float(np.quantile(sides, _LARGEST_SHARE)), float(anchors.max()))
    cloud = page.axes(0.75, 0.85, _PLOT_IN, _PLOT_IN)
    style_plot_axes(cloud)
    cloud.plot(*sides.T, linestyle="none", marker="o", markersize=2, alpha=0.25, color=SERIES[0], label="boxes")
    cloud.plot(*anchors.T, linestyle="none", marker="D", markersize=6, color=SERIES[1], mec="white", label="anchors")
    cloud.set(xlim=(0, limit), ylim=(0, limit))
    cloud.legend(loc="upper left", frameon=False, fontsize=9, labelcolor=INK)
    shapes = page.axes(0.75 + _PLOT_IN + 0.75, 0.85, _PLOT_IN, _PLOT_IN)
    style_plot_axes(shapes)
    half = float(anchors.max()) / 2 * 1.1
    for width, height in anchors:
        shapes.add_patch(
            Rectangle((-width / 2, -height / 2), width, height, fill=False, edgecolor=SERIES[1], linewidth=1.4)
        )
    shapes.set(xlim=(-half, half), ylim=(-half, half))
    for axes, name in ((cloud, ""), (shapes, " around one centre")):
        axes.set_aspect("equal")
        axes.set_xlabel(f"Width{name} (px)", fontsize=10, color=INK)
        axes.set_ylabel("Height (px)", fontsize=10, color=INK)
    return page.save(out)
