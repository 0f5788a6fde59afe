"""Curves of a training run as small multiples, one panel for each kind of metric."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from lesion_app.visualize.page import Page, style_plot_axes
from lesion_app.visualize.palette import INK, MUTED, SERIES

Points = Sequence[tuple[int, float]]

GROUPS = (
    "Losses",
    "Mined boxes per ground-truth box",
    "Boxes in an iteration or epoch",
    "Precision and recall of the mined boxes",
    "Validation",
    "Other",
)
_UNIT_RANGE = {"Precision and recall of the mined boxes", "Validation"}
_DENSE = 120  # points from which a running mean is easier to read than the raw line
_LOG_RATIO = 30.0
_ROLES = ("teacher", "student")


def metric_group(name: str) -> str:
    """Panel of a metric, told from the words of its name (``loss_rpn_box_reg``, ``val/teacher_ap`` ...)."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    if words & {"loss", "losses"}:
        return GROUPS[0]
    if words & {"precision", "recall"} and words & {"mined", "mining"}:
        return GROUPS[3]
    if words & {"mined", "mining"} and words & {"per", "ratio"}:
        return GROUPS[1]
    if words & {"mined", "mining", "boxes", "hidden"}:
        return GROUPS[2]
    if words & {"ap", "map", "sensitivity", "froc", "val", "validation", "precision", "recall"}:
        return GROUPS[4]
    return GROUPS[5]


def plot_training_curves(history: Mapping[str, Points], out: Path, *, title: str = "Training") -> Path:
    """Draw every metric over iterations, grouped into panels; empty groups get no panel.

    Curves of more than 120 points are drawn as a running mean over 1/40 of their length on top of the pale raw
    line. Losses get a log axis when they span a factor of 30. Values that are not finite are left out and counted
    in the legend, so a diverged run does not look like a short one.

    Args:
        history: metric name to (iteration, value) pairs, in any order.
        out: .png, .pdf or .svg file.
        title: heading of the page.

    Returns:
        ``out``.

    Raises:
        ValueError: when no metric has a single point.
        InputError: when ``out`` cannot be written.
    """
    panels: dict[str, dict[str, np.ndarray]] = {}
    for name, points in history.items():
        values = np.asarray(points, float).reshape(-1, 2)
        if len(values):
            values = values[np.argsort(values[:, 0], kind="stable")]
            panels.setdefault(metric_group(name), {})[name] = values
    if not panels:
        raise ValueError("training curves need at least one (iteration, value) pair, got none")
    groups = [group for group in GROUPS if group in panels]
    columns = min(2, len(groups))
    rows = -(-len(groups) // columns)
    legend_lines = [
        max(-(-len(panels[g]) // 2) for g in groups[row * columns : (row + 1) * columns]) for row in range(rows)
    ]
    heights = [3.35 + 0.2 * lines for lines in legend_lines]
    width = 5.9 if columns == 2 else 8.0
    page = Page(0.3 + width * columns, 0.75 + sum(heights), dpi=120)
    page.text(0.35, 0.2, title, size=14, weight="bold")
    last = max(int(values[-1, 0]) for panel in panels.values() for values in panel.values())
    page.text(width * columns, 0.25, f"up to iteration {last:,}", size=9.5, color=MUTED, ha="right")
    for index, group in enumerate(groups):
        row, column = divmod(index, columns)
        top = 0.75 + sum(heights[:row])
        axes = page.axes(0.35 + 0.5 + column * width, top + 0.35, width - 0.85, 2.25)
        _panel(axes, group, panels[group])
        axes.set_xlim(0, max(last, 1))
    return page.save(out)


def _panel(axes: Axes, group: str, curves: Mapping[str, np.ndarray]) -> None:
    style_plot_axes(axes)
    axes.set_title(group, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xlabel("Iteration", fontsize=9.5, color=INK)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    shown: list[np.ndarray] = []
    for name, style in _styles(list(curves)).items():
        finite = curves[name][np.isfinite(curves[name][:, 1])]
        missing = len(curves[name]) - len(finite)
        label = name + (f" ({missing} not finite)" if missing else "")
        if len(finite) > _DENSE:
            axes.plot(*finite.T, color=style["color"], linewidth=0.5, alpha=0.22)
            smooth = running_mean(finite[:, 1], max(len(finite) // 40, 5))
            axes.plot(finite[:, 0], smooth, label=label, linewidth=1.8, **style)
            shown += [smooth, np.percentile(finite[:, 1], (0.5, 99.5))]
        else:
            marker = "o" if len(finite) <= 40 else ""
            axes.plot(*finite.T, label=label, linewidth=1.6, marker=marker, markersize=3.8, clip_on=False, **style)
            shown.append(finite[:, 1])
    values = np.concatenate(shown)
    low, high = (float(values.min()), float(values.max())) if len(values) else (np.nan, np.nan)
    _value_axis(axes, group, low, high)
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.21),
        ncols=2,
        fontsize=8.5,
        frameon=False,
        labelcolor=INK,
        handlelength=2.4,
        columnspacing=1.4,
        borderaxespad=0.0,
    )


def _value_axis(axes: Axes, group: str, low: float, high: float) -> None:
    if not np.isfinite([low, high]).all():
        axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", color=MUTED, fontsize=10)
        return
    if group in _UNIT_RANGE and low >= 0 and high <= 1:
        top = 1.0 if high > 0.5 else max(np.ceil(high * 10) / 10 + 0.05, 0.2)
        axes.set_ylim(0, top + 0.015)
    elif group == "Losses" and low > 0 and high / low >= _LOG_RATIO:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.minorticks_off()
    elif low >= 0:
        axes.set_ylim(0, high * 1.12 or 1.0)


def _styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and dashes by name: the student is dashed, and shares its colour with the teacher's same metric.

    A single metric of both gets the two first colours instead.
    """
    roles = [next((role for role in _ROLES if role in name.lower()), None) for name in names]
    metrics = [name.lower().replace(role or "", "") for name, role in zip(names, roles)]
    order = list(dict.fromkeys(metrics))
    styles: dict[str, dict[str, Any]] = {}
    for name, role, metric in zip(names, roles, metrics):
        index = _ROLES.index(role) if role and len(order) == 1 else order.index(metric)
        dashes = (0, (5, 1.6)) if role == "student" else "-" if index < len(SERIES) else (0, (2, 1.2))
        styles[name] = {"color": SERIES[index % len(SERIES)], "linestyle": dashes}
    return styles


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean of ``values`` [N] in a centred window of ``width`` (made odd), shorter at both ends.

    A mean, not a median: boxes mined in one iteration are mostly none, and their median says nothing.
    """
    kernel = np.ones(2 * (width // 2) + 1)
    half = len(kernel) // 2
    sums = np.convolve(np.pad(values.astype(float), half), kernel, "valid")
    counts = np.convolve(np.pad(np.ones(len(values)), half), kernel, "valid")
    return sums / counts
