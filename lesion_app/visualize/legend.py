"""A one-line legend of box styles for the head of a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.patches import Rectangle

from lesion_app.visualize.page import Page
from lesion_app.visualize.palette import INK, BoxStyle
from lesion_app.visualize.tile import box_patch

_SAMPLE = "#23262E"  # the dark of CT, so that the sample looks as the boxes do
_TEXT_POINTS = 9.0


def draw_legend(page: Page, left: float, top: float, entries: Sequence[tuple[str, BoxStyle]]) -> None:
    """Draw a sample box and a word for each (text, style), from ``left`` rightwards at ``top`` (inches)."""
    for text, style in entries:
        axes = page.axes(left, top, 0.3, 0.2)
        axes.set_xlim(0, 30)
        axes.set_ylim(20, 0)
        axes.axis("off")
        axes.add_patch(Rectangle((0, 0), 30, 20, facecolor=_SAMPLE, linewidth=0))
        axes.add_patch(box_patch((5, 5, 25, 15), style))
        page.text(left + 0.38, top + 0.1, text, size=_TEXT_POINTS, color=INK, va="center_baseline")
        left += 0.38 + 0.068 * len(text) + 0.3
