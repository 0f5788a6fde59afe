"""The study's pictures, from what the finished arms left; main arms only, over the seeds that all of them have."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from lesion_app.handlers.training_history import read_history
from lesion_app.visualize.page import Page, style_plot_axes
from lesion_app.visualize.palette import MUTED, SERIES
from missing_labels.arms import Arm

Run = tuple[str, int]
FROC_POINTS = ("0.125", "0.25", "0.5", "1", "2", "4", "8")
PANELS = {
    "teacher_p3d_ap": "AP",
    "mined_precision": "right, of what is mined",
    "mined_recall": "found, of the lesions without a label",
}


def draw_froc(results: Mapping[Run, dict[str, Any]], arms: Mapping[str, Arm], path: Path) -> bool:
    """Sensitivity at the seven operating points, mean and range of the seeds, teachers.

    Returns:
        whether there was anything to draw.
    """
    names, seeds = _main_arms(results, arms)
    if not names or not seeds:
        return False
    page = Page(7.5, 4.9 + _legend_inches(arms, names))
    axes = page.axes(0.7, 0.45, 6.5, 4.0)
    style_plot_axes(axes)
    fps = np.array([float(p) for p in FROC_POINTS])
    # Side by side, since ranges of arms drawn over each other cannot be told apart.
    beside = 2.0 ** np.linspace(-0.28, 0.28, len(names)) if len(names) > 1 else np.ones(1)
    for number, (name, shift) in enumerate(zip(names, beside)):
        color, line, marker = style(number)
        found = [results[name, seed]["models"]["teacher"]["sensitivity"] for seed in seeds]
        values = 100 * np.array([[one[point] for point in FROC_POINTS] for one in found])
        mean = values.mean(axis=0)
        reach = np.stack([mean - values.min(axis=0), values.max(axis=0) - mean])
        axes.errorbar(fps * shift, mean, reach, fmt=marker, color=color, label=_legend(arms[name]), ms=4, lw=1.2)
        axes.plot(fps * shift, mean, line, color=color, lw=0.6, alpha=0.6)
    axes.set_xscale("log", base=2)
    axes.set_xticks(fps, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    axes.set_xlabel("false positives a sub-volume", fontsize=9, color=MUTED)
    axes.set_ylabel("sensitivity (%)", fontsize=9, color=MUTED)
    axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.13), ncol=2)
    page.text(0.2, 0.12, f"FROC on the test patients, teacher; {_over(seeds, 'mean and range of seeds')}", 10)
    page.save(path)
    return True


def draw_curves(
    out: Path,
    results: Mapping[Run, dict[str, Any]],
    arms: Mapping[str, Arm],
    path: Path,
    figures: Sequence[str],
    title: str,
) -> bool:
    """``figures`` of the history over the iterations, mean of the seeds, one panel a figure.

    Returns:
        whether there was anything to draw.
    """
    names, seeds = _main_arms(results, arms)
    lines = {
        (name, seed): read_history(out / "arms" / name / f"seed{seed}" / "training" / "history.jsonl")
        for name in names
        for seed in seeds
    }
    shown = [n for n in names if any(f in line for s in seeds for line in lines[n, s] for f in figures)]
    if not shown:
        return False
    columns = min(len(figures), 2)
    page = Page(4.6 * len(figures) + 0.6, 3.7 + _legend_inches(arms, shown, columns))
    for column, figure in enumerate(figures):
        axes = page.axes(0.65 + 4.6 * column, 0.5, 3.9, 2.7)
        style_plot_axes(axes)
        for number, name in enumerate(names):
            color, line, marker = style(number)
            points: dict[int, list[float]] = {}
            for seed in seeds:
                for entry in lines[name, seed]:
                    if figure in entry:
                        points.setdefault(entry["iteration"], []).append(entry[figure])
            if points:
                steps = sorted(points)
                means = np.array([statistics.fmean(points[s]) for s in steps])
                if len(means) > 40:
                    means = np.convolve(np.pad(means, 4, mode="edge"), np.full(9, 1 / 9), mode="valid")
                marked = marker if len(steps) < 20 else None
                axes.plot(steps, means, line, color=color, label=_legend(arms[name]), marker=marked, ms=3)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel("iteration", fontsize=9, color=MUTED)
        axes.set_title(PANELS.get(figure, figure), fontsize=9, loc="left")
        if column == 0:
            axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.2), ncol=columns)
    page.text(0.2, 0.12, f"{title}; {_over(seeds, 'mean of seeds')}", 10)
    page.save(path)
    return True


def draw_scores(out: Path, results: Mapping[Run, dict[str, Any]], arms: Mapping[str, Arm], path: Path) -> bool:
    """How sure the teacher is: its boxes a slab by score, labelled lesions included, last quarter of the training.

    Arms that mine, with any seed that has scores in its history.

    Returns:
        whether there was anything to draw.
    """
    counted: dict[str, np.ndarray] = {}
    for name, seed in results:
        lines = read_history(out / "arms" / name / f"seed{seed}" / "training" / "history.jsonl")
        late = [line for line in lines if line["iteration"] > 0.75 * lines[-1]["iteration"]]
        scored = [line["teacher_scores"] for line in late if "teacher_scores" in line]
        if scored:
            counted[name] = counted.get(name, np.zeros(len(scored[0]))) + np.sum(scored, axis=0)
    shown = [name for name in arms if name in counted]
    if not shown:
        return False
    page = Page(7.5, 3.7 + _legend_inches(arms, shown))
    axes = page.axes(0.7, 0.45, 6.5, 2.8)
    style_plot_axes(axes)
    for number, name in enumerate(shown):
        color, line, _ = style(number)
        edges = np.linspace(0, 1, len(counted[name]) + 1)
        shares = counted[name] / max(counted[name].sum(), 1)
        axes.stairs(shares, edges, color=color, ls=line, label=_legend(arms[name]), lw=1.5)
    axes.set_yscale("log")
    axes.set_xlabel("score", fontsize=9, color=MUTED)
    axes.set_ylabel("share of its boxes", fontsize=9, color=MUTED)
    axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.18), ncol=2)
    page.text(0.2, 0.12, "Scores of the teacher's boxes on training slices, last quarter of the training", 10)
    page.save(path)
    return True


def shared_seeds(results: Mapping[Run, Any], names: Sequence[str]) -> list[int]:
    """Seeds that have a result of every arm named."""
    seeds = sorted({seed for _, seed in results})
    return [seed for seed in seeds if all((name, seed) in results for name in names)]


def _main_arms(results: Mapping[Run, Any], arms: Mapping[str, Arm]) -> tuple[list[str], list[int]]:
    """Main arms with a result, and the seeds that all of them have: other seeds have other test patients."""
    names = [name for name, arm in arms.items() if arm.every_seed and any(run[0] == name for run in results)]
    return names, shared_seeds(results, names)


def style(number: int) -> tuple[str, str, str]:
    """Colour, line and marker of the arm drawn as the ``number``-th; when colours end, the next round is dashed."""
    again = number // len(SERIES)
    return SERIES[number % len(SERIES)], ("-", "--", ":", "-.")[again % 4], ("o", "s", "^", "D")[again % 4]


def _legend(arm: Arm) -> str:
    return "\n".join(textwrap.wrap(arm.title, 44))


def _legend_inches(arms: Mapping[str, Arm], names: Sequence[str], columns: int = 2) -> float:
    """Height of a legend."""
    lines = [_legend(arms[name]).count("\n") + 1 for name in names]
    each = -(-len(lines) // columns)
    return 0.2 + 0.16 * max(sum(lines[start : start + each]) for start in range(0, len(lines), each))


def _over(seeds: Sequence[int], several: str) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"{several} {', '.join(map(str, seeds))}"
