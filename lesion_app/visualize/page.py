"""A white page measured in inches from its top left corner, drawn off screen and written atomically."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from lesion_app.errors import InputError
from lesion_app.visualize.palette import INK, MUTED, PAGE, RULE

POINTS_PER_INCH = 72.0
SUFFIXES = (".png", ".pdf", ".svg")


class Page:
    """One figure on its own Agg canvas; neither pyplot nor rcParams are touched.

    Args:
        width, height: inches.
        dpi: pixels per inch of raster output.
    """

    def __init__(self, width: float, height: float, dpi: int = 110) -> None:
        self.width = float(width)
        self.height = float(height)
        self.figure = Figure(figsize=(self.width, self.height), dpi=dpi, facecolor=PAGE)
        self.canvas = FigureCanvasAgg(self.figure)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes at ``left``, ``top`` (inches from the top left corner) of the given size in inches."""
        bounds = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(bounds)

    def text(self, left: float, top: float, text: str, size: float = 9, color: str = INK, **style: Any) -> Text:
        """Write ``text`` with its top left corner at ``left``, ``top`` in inches; ``size`` in points."""
        style.setdefault("va", "top")
        return self.figure.text(
            left / self.width, 1 - top / self.height, text, fontsize=size, color=color, family="DejaVu Sans", **style
        )

    def pixels(self) -> np.ndarray:
        """Draw and return the page as RGB uint8 [height, width, 3] px."""
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()

    def save(self, out: Path) -> Path:
        """Write the page to ``out`` (.png, .pdf or .svg) and return its path; folders are made.

        A page that cannot be written leaves nothing behind, and an older file stays as it was.

        Raises:
            InputError: another suffix, or a place that cannot be written to.
        """
        out = Path(out)
        if out.suffix.lower() not in SUFFIXES:
            raise InputError(
                f"picture name {out.name!r} ends in {out.suffix or 'nothing'!r}, expected one of "
                f"{', '.join(SUFFIXES)}; rename it."
            )
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(suffix=out.suffix, prefix=f".{out.stem}-", dir=out.parent)
        except OSError as error:
            raise InputError(
                f"picture {out.name} cannot be written to folder {out.parent}: {error.strerror}; "
                "choose a folder you may write to."
            ) from error
        os.close(handle)
        temporary = Path(name)
        try:
            # mkstemp makes private files; a picture gets the permissions any new file would have
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            kind = out.suffix[1:].lower()
            if kind == "png":
                # CT noise hardly packs: level 3 is 2 to 3 times faster than matplotlib's 6 and as small.
                self.figure.savefig(temporary, format=kind, facecolor=PAGE, pil_kwargs={"compress_level": 3})
            else:
                self.figure.savefig(temporary, format=kind, facecolor=PAGE)
            os.replace(temporary, out)
        finally:
            temporary.unlink(missing_ok=True)
        return out


def style_plot_axes(axes: Axes) -> None:
    """Quiet axes for a plot: light grid, left and bottom spine only, small grey tick labels."""
    axes.set_facecolor(PAGE)
    axes.grid(True, color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(MUTED)
        spine.set_linewidth(0.8)
    axes.tick_params(which="both", colors=MUTED, labelsize=9, length=3, labelcolor=INK)


def bare_axes(axes: Axes) -> None:
    """Axes for an image: no ticks, no frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
