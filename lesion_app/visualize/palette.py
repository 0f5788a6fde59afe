"""Colours and line styles, one meaning each in every picture.

Line colours on white follow Okabe and Ito's colour-blind-safe set (https://jfly.uni-koeln.de/color/). Boxes on
grey CT use brighter relatives of the same hues, and no two kinds of box differ by hue alone: what a person drew and
what the model found are green and blue, what nobody has labelled is orange and always dashed.
"""

from __future__ import annotations

from dataclasses import dataclass

PAGE = "#FFFFFF"
INK = "#1F2430"
MUTED = "#6B7280"
RULE = "#D9DCE3"

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
"""Colours of curves on a white page, in the order they are handed out."""


@dataclass(frozen=True)
class BoxStyle:
    """How one kind of box is drawn.

    Args:
        color: line and label colour.
        dashes: on and off lengths in points, or None for a solid line.
        width: line width in points.
        page_color: darker relative of ``color`` for text on a white page.
    """

    color: str
    dashes: tuple[float, float] | None
    width: float
    page_color: str


PREDICTED = BoxStyle("#4FC3FF", None, 1.5, "#0072B2")
PREDICTED_ELSEWHERE = BoxStyle("#4FC3FF", None, 0.7, "#0072B2")
TRUTH = BoxStyle("#35E0A1", (4.0, 2.5), 1.5, "#007A5A")
LABELLED = BoxStyle("#35E0A1", None, 1.6, "#007A5A")
MINED = BoxStyle("#4FC3FF", None, 1.6, "#0072B2")
UNLABELLED = BoxStyle("#FF9A1F", (3.5, 2.2), 1.6, "#B35300")
IGNORED = BoxStyle("#C9CDD6", (1.2, 1.8), 1.2, "#6B7280")
