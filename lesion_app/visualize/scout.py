"""A scout view: the volume seen from the front, with where each lesion lies along the body."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lesion_app.visualize.axes_letters import SideLetters
from lesion_app.visualize.palette import INK, MUTED, TRUTH
from lesion_app.visualize.tile import DrawnBox, draw_boxes, show_slice, write_side_letter

_DENSE_HU = 1000.0


def coronal_projection(volume_hu: np.ndarray) -> np.ndarray:
    """Project HU [Z, H, W] along y into grey uint8 [Z, W]: mean attenuation as on a scout, metal clipped.

    Grey levels are stretched between the 2nd and 99.5th percentile of what is not bare air.
    """
    projection = np.stack(
        [np.clip(slice_hu, -1000, _DENSE_HU).mean(axis=0, dtype=np.float32) for slice_hu in volume_hu]
    )
    inside = projection[projection > -950]
    low, high = np.percentile(inside, (2, 99.5)) if inside.size else (-1000.0, 0.0)
    return np.round(np.clip((projection - low) / max(high - low, 1.0), 0, 1) * 255).astype(np.uint8)


def draw_scout(
    axes: Axes,
    projection: np.ndarray,
    columns: tuple[int, int],
    lesions: Sequence[DrawnBox],
    truth: Sequence[tuple[float, int]],
    slices_shown: Sequence[int],
    letters: SideLetters,
    first_slice_number: int,
) -> None:
    """Draw the projection with a box a lesion and a tick at the right border for each slice shown as a tile.

    Args:
        axes: as tall as the picture shall be; the slices fill it.
        projection: uint8 [Z, W] of ``coronal_projection``.
        columns: first and last column shown, half-open.
        lesions: boxes (x1, z1, x2, z2) in px and slices.
        truth: middle of each true box, (x, slice) in px and slices; drawn as a dot.
        slices_shown: slice indices.
        letters: letters at the edges.
        first_slice_number: number printed for slice 0.
    """
    depth = projection.shape[0]
    show_slice(axes, projection, (columns[0], 0, columns[1], depth))
    axes.set_aspect("auto")
    if not letters.first_slice_on_top:
        axes.set_ylim(0, depth)
    draw_boxes(axes, lesions)
    if truth:
        x, z = np.asarray(truth, float).T
        axes.plot(x, z + 0.5, "s", color=TRUTH.color, markersize=3, markeredgecolor="black", markeredgewidth=0.5)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    # ticks count slices, and slice k covers [k, k + 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda z, _: f"{int(z) + first_slice_number}" if z < depth else ""))
    axes.tick_params(axis="y", labelsize=8, length=2.5, colors=MUTED, labelcolor=INK)
    for z in slices_shown:
        axes.plot(
            [1.0, 1.035],
            [z + 0.5] * 2,
            transform=axes.get_yaxis_transform(),
            color=INK,
            linewidth=1.1,
            clip_on=False,
            solid_capstyle="butt",
        )
    top, bottom = (
        (letters.first_slice, letters.last_slice)
        if letters.first_slice_on_top
        else (letters.last_slice, letters.first_slice)
    )
    for y, letter, align in ((1.0, top, "bottom"), (-0.01, bottom, "top")):
        axes.text(0.5, y, letter, transform=axes.transAxes, fontsize=8, color=MUTED, ha="center", va=align)
    write_side_letter(axes, 0.015, letters.left, "left")
    write_side_letter(axes, 0.985, letters.right, "right")
