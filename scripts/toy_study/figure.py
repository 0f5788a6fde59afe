"""The study's figure: what Figure 5 of Retina U-Net shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from lesion_app.visualize.page import Page, style_plot_axes
from lesion_app.visualize.palette import MUTED
from toy_study.arms import DETECTORS, TASKS

# As in Figure 5: one-stage detectors blue or green, two-stage ones red; segmentation solid, without it dashed.
STYLES: dict[str, tuple[str, Any]] = {
    "retina_unet": ("#0072B2", "-"),
    "retina_net": ("#56B4E9", (0, (5, 1.6))),
    "unet": ("#009E73", "-"),
    "two_stage": ("#B22222", "-"),
    "faster_rcnn": ("#E98B6D", (0, (5, 1.6))),
    "mask_rcnn": ("#CC79A7", (0, (2, 1.2))),
}
_PANEL, _HEIGHT, _LEFT, _TOP, _STEP = 3.85, 3.0, 0.75, 0.95, 4.35
# Intervals beside each other instead of on each other: factors of n.
_APART = 1.035


def draw_curves(found: Mapping[str, Mapping[str, Any]], images: Sequence[int], level: float, path: Path) -> None:
    """mAP over the number of training images, a panel a task, with bars from ``low`` to ``high``.

    Args:
        found: points ``{map, low, high}`` by task, detector and number of training images (as a text).
        images: numbers of training images to mark.
        level: of the intervals.
        path: .png, .pdf or .svg.
    """
    page = Page(_LEFT + 2 * _STEP + _PANEL + 0.3, _TOP + _HEIGHT + 1.05)
    for column, (task, of_task) in enumerate(found.items()):
        axes = page.axes(_LEFT + _STEP * column, _TOP, _PANEL, _HEIGHT)
        style_plot_axes(axes)
        for detector, points in of_task.items():
            color, dashes = STYLES[detector]
            numbers = sorted(int(key) for key in points)
            value, low, high = (np.array([points[str(n)][key] for n in numbers]) for key in ("map", "low", "high"))
            place = np.array(numbers) * _APART ** (list(DETECTORS).index(detector) - (len(DETECTORS) - 1) / 2)
            axes.vlines(place, low, high, color=color, lw=1.2, alpha=0.75, zorder=2)
            axes.plot(place, value, color=color, linestyle=dashes, marker="o", ms=4.5, lw=1.7, zorder=3)
        axes.set_xscale("log")
        axes.set_xticks(list(images), [f"{n}" for n in images])
        axes.set_xticks([], minor=True)
        axes.set_xlim(min(images) / 1.25, max(images) * 1.25)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("training images", fontsize=9, color=MUTED)
        axes.set_title(TASKS[task], fontsize=10, loc="left")
        if column == 0:
            axes.set_ylabel("mAP at IoU 0.1", fontsize=9, color=MUTED)
        if not of_task:
            axes.text(0.5, 0.5, "not run yet", color=MUTED, fontsize=9, ha="center", transform=axes.transAxes)
    handles = [
        Line2D([], [], color=STYLES[key][0], linestyle=STYLES[key][1], marker="o", ms=4.5, lw=1.7, label=detector.title)
        for key, detector in DETECTORS.items()
    ]
    page.figure.legend(
        handles=handles, ncol=len(handles), fontsize=8.5, frameon=False, loc="lower left", bbox_to_anchor=(0.045, 0.01)
    )
    page.text(0.3, 0.2, "Detectors with and without segmentation supervision on toy data", 13, weight="bold")
    page.text(0.3, 0.5, f"bars: {level:.0%} bootstrap over seeds and test images", 9, MUTED)
    page.save(path)
