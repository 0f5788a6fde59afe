"""Free-response ROC and precision-recall curves of one or more detectors on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes

from lesion_app.visualize.page import Page, style_plot_axes
from lesion_app.visualize.palette import INK, MUTED, RULE, SERIES

OPERATING_POINTS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_TICK_LABELS = ("1/8", "1/4", "1/2", "1", "2", "4", "8")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = ("-", (0, (5, 1.6)), (0, (2, 1.2)), (0, (6, 1.4, 1.5, 1.4)))


class FrocLike(Protocol):
    """What a curve must offer; ``lesion_app.metrics.froc.FrocCurve`` does.

    ``tp``, ``fp_froc``, ``fp_ap``: cumulative counts [N] over the detections in descending score.
    """

    @property
    def tp(self) -> np.ndarray: ...

    @property
    def fp_froc(self) -> np.ndarray: ...

    @property
    def fp_ap(self) -> np.ndarray: ...

    @property
    def n_truth(self) -> int: ...

    @property
    def n_volumes(self) -> int: ...

    @property
    def average_precision(self) -> float: ...

    @property
    def average_sensitivity(self) -> float: ...

    def sensitivity_at(self, fps: Sequence[float]) -> np.ndarray: ...


def plot_froc(
    curves: Mapping[str, FrocLike], out: Path, *, title: str = "Lesion detection", unit: str = "sub-volume"
) -> Path:
    """Draw FROC (log-2 axis, 1/8 to 8 false positives) beside precision and recall, and a table of both numbers.

    The line is the staircase of the detections themselves; the marks are ``sensitivity_at`` the seven published
    operating points, whose mean is the average sensitivity. Precision is drawn as its monotone envelope, the area
    under which is the AP (VOC 2010), over the raw curve in a lighter tone.

    Args:
        curves: name to curve, drawn in this order; at most seven get a colour of their own.
        out: .png, .pdf or .svg file.
        title: heading of the page.
        unit: what false positives are counted per, for the axis label.

    Returns:
        ``out``.

    Raises:
        ValueError: when there is no curve.
        InputError: when ``out`` cannot be written.
    """
    if not curves:
        raise ValueError("an FROC plot needs at least one curve, got none")
    table_top = 4.95
    page = Page(10.4, table_top + 0.42 + 0.25 * len(curves), dpi=120)
    page.text(0.3, 0.2, title, size=14, weight="bold")
    first = next(iter(curves.values()))
    page.text(0.3, 0.5, _scope(curves, first, unit), size=9.5, color=MUTED)
    froc = page.axes(0.85, 1.1, 5.0, 3.25)
    precision = page.axes(6.85, 1.1, 3.25, 3.25)
    _prepare_froc(froc, unit)
    _prepare_precision(precision)
    for index, curve in enumerate(curves.values()):
        color, dashes = SERIES[index % len(SERIES)], _DASHES[index % len(_DASHES)]
        _draw_froc(froc, curve, color, dashes, _MARKERS[index % len(_MARKERS)])
        _draw_precision(precision, curve, color, dashes)
    _table(page, table_top, curves)
    return page.save(out)


def _scope(curves: Mapping[str, FrocLike], first: FrocLike, unit: str) -> str:
    if any((c.n_truth, c.n_volumes) != (first.n_truth, first.n_volumes) for c in curves.values()):
        return "The curves were measured on different sets of lesions; see the table."
    return f"{first.n_truth:,} lesions in {first.n_volumes:,} {unit}{'' if first.n_volumes == 1 else 's'}"


def _prepare_froc(axes: Axes, unit: str) -> None:
    style_plot_axes(axes)
    axes.set_xscale("log", base=2)
    axes.set_xlim(OPERATING_POINTS[0] / 1.12, OPERATING_POINTS[-1] * 1.12)
    axes.set_xticks(OPERATING_POINTS, labels=_TICK_LABELS)
    axes.minorticks_off()
    axes.set_xlabel(f"False positives per {unit} (log scale)", fontsize=10, color=INK)
    _prepare_unit_axis(axes, "Sensitivity")
    axes.set_title("FROC", loc="left", fontsize=11, color=INK, fontweight="bold")


def _prepare_precision(axes: Axes) -> None:
    style_plot_axes(axes)
    axes.set_xlim(0, 1)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_xlabel("Recall", fontsize=10, color=INK)
    _prepare_unit_axis(axes, "Precision")
    axes.set_title("Precision and recall", loc="left", fontsize=11, color=INK, fontweight="bold")


def _prepare_unit_axis(axes: Axes, label: str) -> None:
    axes.set_ylim(0, 1.015)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_ylabel(label, fontsize=10, color=INK)


def _draw_froc(axes: Axes, curve: FrocLike, color: str, dashes: object, marker: str) -> None:
    if not len(curve.tp) or not curve.n_truth or not curve.n_volumes:
        return
    fps = np.r_[0.0, np.asarray(curve.fp_froc, float) / curve.n_volumes]
    sensitivity = np.r_[0.0, np.asarray(curve.tp, float) / curve.n_truth]
    # a log axis has no zero: what was found before the first false positive enters at the left border
    fps = np.maximum(fps, OPERATING_POINTS[0] / 2)
    axes.step(fps, sensitivity, where="post", color=color, linestyle=dashes, linewidth=1.8)
    # no detections are left beyond the last one: sensitivity stays what it is
    axes.plot([fps[-1], OPERATING_POINTS[-1] * 2], [sensitivity[-1]] * 2, color=color, linestyle=":", linewidth=1)
    axes.plot(
        OPERATING_POINTS,
        np.asarray(curve.sensitivity_at(OPERATING_POINTS), float),
        linestyle="none",
        marker=marker,
        markersize=5.5,
        color=color,
        markeredgecolor="white",
        markeredgewidth=0.8,
        zorder=3,
    )


def _draw_precision(axes: Axes, curve: FrocLike, color: str, dashes: object) -> None:
    if not len(curve.tp) or not curve.n_truth:
        return
    tp = np.asarray(curve.tp, float)
    precision = tp / np.maximum(tp + np.asarray(curve.fp_ap, float), 1)
    recall = tp / curve.n_truth
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    axes.plot(recall, precision, color=color, linewidth=0.8, alpha=0.35)
    # at a given recall the envelope is the best precision from there on: a staircase that steps before
    axes.step(
        np.r_[0.0, recall, recall[-1]],
        np.r_[envelope[0], envelope, 0.0],
        where="pre",
        color=color,
        linestyle=dashes,
        linewidth=1.8,
    )


def _table(page: Page, top: float, curves: Mapping[str, FrocLike]) -> None:
    """Legend and numbers in one: a line sample, the name, average sensitivity, AP and the counts."""
    columns = {
        "avg. sensitivity 1/8\u20138": 5.35,
        "AP": 6.35,
        "lesions": 7.45,
        "detections": 8.6,
        "highest sensitivity": 10.1,
    }
    for name, right in columns.items():
        page.text(right, top, name, size=9, color=MUTED, ha="right")
    rule = page.axes(0.3, top + 0.22, 9.8, 0.01)
    rule.axis("off")
    rule.axhline(0.5, color=RULE, linewidth=1)
    for index, (name, curve) in enumerate(curves.items()):
        y = top + 0.3 + 0.25 * index
        sample = page.axes(0.35, y, 0.45, 0.16)
        sample.axis("off")
        sample.set_xlim(0, 1)
        color = SERIES[index % len(SERIES)]
        sample.plot([0, 1], [0, 0], color=color, linestyle=_DASHES[index % len(_DASHES)], linewidth=1.8)
        sample.plot(
            [0.5], [0], marker=_MARKERS[index % len(_MARKERS)], color=color, markersize=5.5, markeredgecolor="white"
        )
        page.text(0.95, y, name, size=10, weight="bold")
        detections = len(curve.tp)
        found = (float(curve.tp[-1]) if detections else 0.0) / curve.n_truth if curve.n_truth else float("nan")
        cells = (
            _number(curve.average_sensitivity if detections else 0.0),
            _number(curve.average_precision if detections else 0.0),
            f"{curve.n_truth:,}",
            f"{detections:,}",
            _number(found),
        )
        for right, cell in zip(columns.values(), cells):
            page.text(right, y, cell, size=10, ha="right")


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"
