"""The study's table, summary and pictures, from what the finished arms left."""

from __future__ import annotations

import json
import math
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markdown_table import markdown_table
from measured_on import commit, machine
from resumable_study import percent, seeds_in, spread, write_text

from lesion_app.handlers.training_history import read_history
from lesion_app.visualize.page import Page, style_plot_axes
from lesion_app.visualize.palette import MUTED, SERIES
from missing_labels.arms import Arm
from missing_labels.findings import difference_noise, findings, findings_table
from missing_labels.offline_mining import mined_once

Run = tuple[str, int]
FROC_POINTS = ("0.125", "0.25", "0.5", "1", "2", "4", "8")
SIZES = ("< 10 mm", "10-30 mm", ">= 30 mm")
SMALL = SIZES[0]


def write_report(out: Path, arms: Mapping[str, Arm], scale: Mapping[str, Any]) -> list[str]:
    """Write ``summary.json``, ``table.md``, ``findings.md`` and pictures of every finished run in ``out``.

    Returns:
        the names of the files written; none while no run is done.
    """
    runs = [(name, seed) for name in arms for seed in seeds_in(out / "arms" / name)]
    results = {run: result for run in runs if (result := read_run(out, run)) is not None}
    if not results:
        return []
    summary = {
        "machine": machine(),
        "commit": commit(),
        "missing_rate": scale["missing_rate"],
        "patients": scale["patients"],
        "recovery": recovery(results),
        "arms": {
            name: summarise(name, arm, results) for name, arm in arms.items() if any(r[0] == name for r in results)
        },
    }
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(out / "table.md", table(summary, arms))
    written = ["summary.json", "table.md"]
    scores = {run: _teacher_ap(result, "all") for run, result in results.items()}
    measured = difference_noise(scores)
    noise = scale.get("difference_noise") if measured is None else measured
    if judged := findings(scores, noise):
        write_text(out / "findings.md", findings_table(judged, noise, measured is not None))
        written.append("findings.md")
    if draw_froc(results, arms, out / "froc.png"):
        written.append("froc.png")
    for name, figures, title in (
        ("curves.png", ("teacher_p3d_ap",), "Validation AP of the teacher"),
        ("mining.png", ("mined_precision", "mined_recall"), "Mined boxes: precision and recall"),
    ):
        if draw_curves(out, results, arms, out / name, figures, title):
            written.append(name)
    return written


def read_run(out: Path, run: Run) -> dict[str, Any] | None:
    """Figures of one finished run: teacher, student, mining in the last quarter of the training, or once before it."""
    folder = out / "arms" / run[0] / f"seed{run[1]}"
    path = folder / "evaluation" / "evaluation.json"
    if not path.is_file():
        return None
    lines = read_history(folder / "training" / "history.jsonl")
    last = lines[-1]["iteration"] if lines else 0
    late = [line for line in lines if line["iteration"] > 0.75 * last]
    total = {
        k: sum(line.get(k, 0.0) for line in late)
        for k in ("mined_boxes", "mined_right", "hidden_lesions", "hidden_found", "ground_truth_boxes")
    }
    datalist = folder / "datalist.json"
    if not total["mined_boxes"] and datalist.is_file():
        counts, labels = mined_once(datalist)
        total = {**counts.as_figures(), "mined_boxes": counts.mined, "ground_truth_boxes": labels}
    return {
        "models": json.loads(path.read_text())["models"],
        "mined_per_label": total["mined_boxes"] / total["ground_truth_boxes"] if total["ground_truth_boxes"] else 0.0,
        "mined_precision": total["mined_right"] / total["mined_boxes"] if total["mined_boxes"] else None,
        "mined_recall": total["hidden_found"] / total["hidden_lesions"] if total["hidden_lesions"] else None,
        "last_iteration": last,
    }


def summarise(name: str, arm: Arm, results: Mapping[Run, dict[str, Any]]) -> dict[str, Any]:
    """Mean, standard deviation and single values over seeds."""
    runs = {seed: result for (arm_name, seed), result in sorted(results.items()) if arm_name == name}
    measures: dict[str, Any] = {}
    for model in ("teacher", "student"):
        for key in ("p3d_ap", "average_sensitivity"):
            measures[f"{model}_{key}"] = spread([r["models"][model][key] for r in runs.values()])
        for size in next(iter(runs.values()))["models"][model]["by_size"]:
            parts = [r["models"][model]["by_size"].get(size, {}) for r in runs.values()]
            for key in ("average_sensitivity", "p3d_ap"):
                values = [p[key] for p in parts if key in p]
                if values:
                    measures[f"{model}_{key} {size}"] = spread(values)
    for key in ("mined_per_label", "mined_precision", "mined_recall"):
        values = [r[key] for r in runs.values() if r[key] is not None]
        if values:
            measures[key] = spread(values)
    return {"title": arm.title, "source": arm.table, "seeds": sorted(runs), **measures}


def recovery(results: Mapping[Run, dict[str, Any]]) -> dict[str, Any]:
    """(AP of an arm - AP partial) / (AP complete - AP partial): teachers, means over the seeds all three have."""
    found: dict[str, Any] = {}
    for name in sorted({run[0] for run in results} - {"complete", "partial"}):
        seeds = _shared_seeds(results, ("complete", "partial", name))
        if not seeds or name.startswith("missing-"):
            continue
        by_measure = {}
        for measure in ("all", *SIZES):
            low, high, arm = (
                [_teacher_ap(results[(a, s)], measure) for s in seeds] for a in ("partial", "complete", name)
            )
            if any(map(math.isnan, (*low, *high, *arm))):
                continue  # no lesion of that size to test on
            gap = statistics.fmean(high) - statistics.fmean(low)
            gain = statistics.fmean(arm) - statistics.fmean(low)
            by_measure[measure] = {
                "gap": gap,
                "gain": gain,
                "recovery": gain / gap if gap else None,
                "per_seed": [(a - lo) / (hi - lo) if hi != lo else None for lo, hi, a in zip(low, high, arm)],
            }
        found[name] = {"seeds": seeds, **by_measure}
    return found


def _teacher_ap(result: Mapping[str, Any], measure: str) -> float:
    teacher = result["models"]["teacher"]
    if measure == "all":
        return float(teacher["p3d_ap"])
    return float(teacher["by_size"].get(measure, {}).get("p3d_ap", float("nan")))


def table(summary: Mapping[str, Any], arms: Mapping[str, Arm]) -> str:
    """The arms as a Markdown table, in per cent."""
    head = ["arm", "seeds", "AP teacher", "AP student", "avg. sens.", "AP < 10 mm", "mined / label", "right", "found"]
    head += ["of the gap won back", "< 10 / 10-30 / >= 30 mm", "source"]
    lines: list[list[str]] = []
    for name in arms:
        row = summary["arms"].get(name)
        if row is None:
            continue
        recovered = summary["recovery"].get(name, {})
        won = recovered.get("all", {}).get("recovery")
        by_size = [recovered.get(size, {}).get("recovery") for size in SIZES]
        cells = [
            row["title"],
            str(len(row["seeds"])),
            percent(row["teacher_p3d_ap"]),
            percent(row["student_p3d_ap"]),
            percent(row["teacher_average_sensitivity"]),
            percent(row.get(f"teacher_p3d_ap {SMALL}")),
            f"{row['mined_per_label']['mean']:.2f}" if "mined_precision" in row else "-",
            percent(row.get("mined_precision")),
            percent(row.get("mined_recall")),
            "-" if won is None else f"{won:.2f}",
            "-" if not recovered else " / ".join("-" if one is None else f"{one:.2f}" for one in by_size),
            row["source"],
        ]
        lines.append(cells)
    return "\n".join(markdown_table(head, lines)) + "\n"


def _main_arms(results: Mapping[Run, Any], arms: Mapping[str, Arm]) -> tuple[list[str], list[int]]:
    """Main arms with a result, and the seeds that all of them have: other seeds have other test patients."""
    names = [name for name, arm in arms.items() if arm.every_seed and any(run[0] == name for run in results)]
    return names, _shared_seeds(results, names)


def _shared_seeds(results: Mapping[Run, Any], names: Sequence[str]) -> list[int]:
    seeds = sorted({seed for _, seed in results})
    return [seed for seed in seeds if all((name, seed) in results for name in names)]


def _legend(arm: Arm) -> str:
    return "\n".join(textwrap.wrap(arm.title, 36))


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def draw_froc(results: Mapping[Run, dict[str, Any]], arms: Mapping[str, Arm], path: Path) -> bool:
    """Sensitivity at the seven operating points, teachers of the main arms, mean and range of the seeds they share.

    Returns:
        whether there was anything to draw.
    """
    page = Page(7.5, 4.6)
    axes = page.axes(0.7, 0.45, 6.5, 3.5)
    style_plot_axes(axes)
    fps = np.array([float(p) for p in FROC_POINTS])
    names, seeds = _main_arms(results, arms)
    if not names or not seeds:
        return False
    for color, name in zip(SERIES, names):
        found = [results[name, seed]["models"]["teacher"]["sensitivity"] for seed in seeds]
        values = np.array([[one[point] for point in FROC_POINTS] for one in found])
        axes.plot(fps, values.mean(axis=0), "o-", color=color, label=_legend(arms[name]), ms=4)
        axes.fill_between(fps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15, lw=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(fps, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    axes.set_xlabel("false positives a sub-volume", fontsize=9, color=MUTED)
    axes.set_ylabel("sensitivity", fontsize=9, color=MUTED)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    page.text(0.2, 0.12, f"FROC on the test patients, teacher; mean and range of seeds {_listed(seeds)}", 10)
    page.save(path)
    return True


def draw_curves(
    out: Path,
    results: Mapping[Run, dict[str, Any]],
    arms: Mapping[str, Arm],
    path: Path,
    names: Sequence[str],
    title: str,
) -> bool:
    """Figures of the main arms over the iterations, mean over the seeds they share, one panel a figure.

    Returns:
        whether there was anything to draw.
    """
    arm_names, seeds = _main_arms(results, arms)
    lines = [_legend(arms[name]).count("\n") + 1 for name in arm_names]
    half = (len(lines) + 1) // 2  # a legend of two columns
    page = Page(4.6 * len(names) + 0.6, 3.9 + 0.15 * max(sum(lines[:half]), sum(lines[half:])))
    drawn = False
    for column, figure in enumerate(names):
        axes = page.axes(0.65 + 4.6 * column, 0.5, 3.9, 2.7)
        style_plot_axes(axes)
        for color, name in zip(SERIES, arm_names):
            points: dict[int, list[float]] = {}
            for seed in seeds:
                for line in read_history(out / "arms" / name / f"seed{seed}" / "training" / "history.jsonl"):
                    if figure in line:
                        points.setdefault(line["iteration"], []).append(line[figure])
            if points:
                steps = sorted(points)
                means = np.array([statistics.fmean(points[s]) for s in steps])
                if len(means) > 40:
                    means = np.convolve(np.pad(means, 4, mode="edge"), np.full(9, 1 / 9), mode="valid")
                marker = "o" if len(steps) < 20 else None
                axes.plot(steps, means, color=color, label=_legend(arms[name]), marker=marker, ms=3)
                drawn = True
        axes.set_xlabel("iteration", fontsize=9, color=MUTED)
        axes.set_title(figure.replace("_", " "), fontsize=9, loc="left")
        if column == 0 and drawn:
            axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.2), ncol=2)
    page.text(0.2, 0.12, f"{title}, mean of seeds {_listed(seeds)}", 10)
    if drawn:
        page.save(path)
    return drawn
