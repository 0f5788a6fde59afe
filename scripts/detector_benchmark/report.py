"""The benchmark's tables, summary and pictures, from what the finished rows left."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from markdown_table import markdown_table
from matplotlib.ticker import MaxNLocator
from measured_on import commit, machine, versions
from resumable_study import percent, seeds_in, spread, write_text

from detector_benchmark.findings import LEVEL, Finding, findings
from detector_benchmark.rows import Row
from detector_benchmark.scales import SCALES
from lesion_app.handlers.training_history import read_history
from lesion_app.visualize.page import Page, style_plot_axes
from lesion_app.visualize.palette import INK, MUTED, SERIES

Run = tuple[str, int]
PICTURES = {
    "accuracy.png": "mAP of every detector on training and test images",
    "curves.png": "mAP over the epochs, one panel a detector",
    "speed.png": "Test mAP over the time a slice takes",
}
FIGURES = ("map11", "mean_iou", "coco_map", "ap50", "ap75", "missed_share")


def row_folder(out: Path, run: Run) -> Path:
    """Where a run leaves everything."""
    return out / "rows" / run[0] / f"seed{run[1]}"


def write_report(out: Path, rows: Mapping[str, Row], settings: Mapping[str, Any]) -> list[str]:
    """Write ``summary.json``, ``table.md`` and the pictures of every finished run of ``rows`` in ``out``.

    Returns:
        the names of the files written; none while no run is done.
    """
    runs = [(name, seed) for name in rows for seed in seeds_in(row_folder(out, (name, 0)).parent)]
    results = {run: found for run in runs if (found := read_run(out, run)) is not None}
    if not results:
        return []
    checked = findings(results, rows)
    summary = {
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "settings": dict(settings),
        "findings": [asdict(finding) for finding in checked],
        "rows": {
            name: {"title": row.title, "source": row.source, **summarise(name, results)}
            for name, row in rows.items()
            if any(run[0] == name for run in results)
        },
    }
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    drawn = {"curves.png"}
    draw_curves(out, results, rows, out / "curves.png")
    if typed := {name: row for name, row in summary["rows"].items() if rows[name].typed}:
        draw_accuracy(typed, out / "accuracy.png")
        drawn.add("accuracy.png")
        if draw_trade_off(typed, out / "speed.png"):
            drawn.add("speed.png")
    pictures = {name: text for name, text in PICTURES.items() if name in drawn}
    parts = [
        heading(summary),
        main_table(summary["rows"], rows),
        findings_table(checked),
        types_table(summary["rows"], rows),
        ratio_table(summary["rows"]),
        "## Pictures\n\n" + "\n".join(f"![{text}]({name})" for name, text in pictures.items()) + "\n",
    ]
    write_text(out / "table.md", "\n".join(parts))
    return ["summary.json", "table.md", *pictures]


def read_run(out: Path, run: Run) -> dict[str, Any] | None:
    """Figures of one finished run: test and training split, speed if it has been measured, best epoch."""
    folder = row_folder(out, run)
    found: dict[str, Any] = {}
    for split in ("test", "training"):
        path = folder / split / "evaluation.json"
        if not path.is_file():
            return None
        found[split] = json.loads(path.read_text())["models"]["detector"]
    speed = folder / "speed.json"
    found["speed"] = json.loads(speed.read_text()) if speed.is_file() else None
    lines = [line for line in read_history(folder / "training" / "validation.jsonl") if "val_map11" in line]
    # The first of equals, as the weights kept are.
    found["best_epoch"] = max(lines, key=lambda line: (line["val_map11"], -line["epoch"]))["epoch"] if lines else None
    return found


def summarise(name: str, results: Mapping[Run, dict[str, Any]]) -> dict[str, Any]:
    """Means, standard deviations and single values over the seeds of a row; figures of its first seed in full."""
    runs = {seed: result for (row, seed), result in sorted(results.items()) if row == name}
    first = next(iter(runs.values()))
    found: dict[str, Any] = {"seeds": list(runs), "speed": first["speed"]}
    found["best_epoch"] = [r["best_epoch"] for r in runs.values()]
    for split in ("test", "training"):
        found[split] = {key: spread([r[split][key] or 0.0 for r in runs.values()]) for key in FIGURES}
    found["sensitivity"] = spread([r["test"]["sensitivity"]["untyped"]["mean"] or 0.0 for r in runs.values()])
    found["details"] = {k: first["test"][k] for k in ("by_type", "by_size", "size_ratio", "sensitivity", "lesions")}
    return found


def heading(summary: Mapping[str, Any]) -> str:
    """What was run, on what, how many runs there are, and how to read the tables."""
    settings = summary["settings"]
    data = "" if settings["dataset"] != "phantom" else f" of {settings['patients']} patients"
    start = "COCO's weights" if SCALES[settings["scale"]].coco else "a stand-in for COCO's weights"
    changed = f", with {settings['set']}" if settings["set"] else ""
    done = sum(len(row["seeds"]) for row in summary["rows"].values())
    lesions = next(iter(summary["rows"].values()))["details"]["lesions"]
    return (
        "# Detectors side by side\n\n"
        f"`python scripts/benchmark_detectors.py --scale {settings['scale']} --out BENCH --publish docs`\n\n"
        f"Scale `{settings['scale']}`{changed}; {settings['dataset']}{data}; {lesions} lesions to test on; {done} "
        f"runs. {summary['machine']}; {summary['versions']}; commit {summary['commit']}.\n\n"
        f"Pretrained rows of Faster R-CNN start from {start}, pretrained rows of YOLOv4, if any, from Darknet's. "
        "All accuracies are in per cent, beside those of the paper where it has the row. mAP: over 11 scores, "
        "IoU > 0.21; IoU: mean over all lesions, a missed one 0; sensitivity: mean at 0.5, 1, 2 and 4 false positives "
        "an image, of any type. What each figure is: docs/detectors.md.\n"
    )


def main_table(found: Mapping[str, Any], rows: Mapping[str, Row]) -> str:
    """Accuracy in per cent beside the paper's, parameters, time and memory; "-" where types are needed and not told."""
    head = [
        "detector", "source", "mAP test", "paper", "mAP train", "paper", "IoU test", "paper", "IoU train", "paper",
        "AP50", "AP75", "COCO mAP", "sensitivity", "missed", "best epoch", "parameters (M)", "ms / slice", "peak MiB",
        "input px",
    ]  # fmt: skip
    lines = []
    for name, row in found.items():
        paper, speed = rows[name].paper, row["speed"] or {}
        test, train = row["test"], row["training"]
        precision = [percent(test[key]) if rows[name].typed else "-" for key in ("ap50", "ap75", "coco_map")]
        lines.append(
            [
                row["title"],
                row["source"],
                percent(test["map11"]) if rows[name].typed else "-",
                str(paper.map_test) if paper else "-",
                percent(train["map11"]) if rows[name].typed else "-",
                str(paper.map_train) if paper else "-",
                percent(test["mean_iou"]),
                str(paper.iou_test) if paper else "-",
                percent(train["mean_iou"]),
                str(paper.iou_train) if paper else "-",
                *precision,
                percent(row["sensitivity"]),
                percent(test["missed_share"]),
                ", ".join(str(epoch) for epoch in row["best_epoch"]),
                f"{speed['parameters'] / 1e6:.2f}" if speed else "-",
                f"{speed['ms_per_slice']:.1f}" if speed else "-",
                f"{speed['peak_mib']:.0f}" if speed.get("peak_mib") is not None else "-",
                " x ".join(str(px) for px in speed["input_px"]) if speed else "-",
            ]
        )
    return "## Detectors\n\n" + _markdown(head, lines)


def types_table(found: Mapping[str, Any], rows: Mapping[str, Row]) -> str:
    """AP of every type, and mean sensitivity at 0.5 to 4 false positives an image by size, in per cent."""
    typed = [row["details"] for name, row in found.items() if rows[name].typed]
    first = typed[0] if typed else next(iter(found.values()))["details"]
    untyped = {kind: {"average_precision": None} for kind in first["by_type"]}
    head = ["detector", *(f"{kind} ({r['lesions']})" for kind, r in first["by_type"].items())]
    head += [f"sens. {size} ({r['lesions']})" for size, r in first["by_size"].items()]
    lines = []
    for name, row in found.items():
        details = row["details"]
        by_type = details["by_type"] if rows[name].typed or not typed else untyped
        cells = [r["average_precision"] for r in by_type.values()]
        cells += [r["mean"] for r in details["by_size"].values()]
        lines.append([row["title"], *("-" if v is None else f"{100 * v:.1f}" for v in cells)])
    return "## By type (AP) and by size (mean sensitivity)\n\n" + _markdown(head, lines)


def ratio_table(found: Mapping[str, Any]) -> str:
    """Tables 6 and 7 for every row: area of the predicted boxes over that of the true ones."""
    head = ["detector", "predictions", "share (%)", "mean", "median", "minimum", "maximum"]
    lines = []
    for row in found.values():
        for side in ("bigger", "smaller"):
            r = row["details"]["size_ratio"][side]
            share = "-" if r["share"] is None else f"{100 * r['share']:.1f}"
            values = ["-" if r[k] is None else f"{r[k]:.3g}" for k in ("mean", "median", "minimum", "maximum")]
            lines.append([row["title"], side, share, *values])
    return "## Size of the predicted boxes\n\n" + _markdown(head, lines)


def findings_table(checked: Sequence[Finding]) -> str:
    """The paper's findings and ours."""
    word = {True: "yes", False: "no", None: "not run"}
    level = f"within {100 * LEVEL:g} points"
    lines = [[f.claim, f.paper, f.here, level if f.close and f.holds is None else word[f.holds]] for f in checked]
    return "## Findings (mAP)\n\n" + _markdown(["finding", "paper", "here", "holds here?"], lines)


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(markdown_table(head, lines)) + "\n"


def draw_accuracy(found: Mapping[str, Any], path: Path) -> None:
    """mAP on training and test images, one pair of bars a row: their distance is the over-fitting."""
    page = Page(9.0, 1.3 + 0.36 * len(found))
    axes = page.axes(3.9, 0.75, 4.7, 0.36 * len(found))
    style_plot_axes(axes)
    places = np.arange(len(found))
    for offset, split, color in ((-0.17, "training", SERIES[5]), (0.17, "test", SERIES[0])):
        values = [row[split]["map11"] for row in found.values()]
        errors = [v["sd"] or 0.0 for v in values]
        axes.barh(places + offset, [v["mean"] for v in values], 0.32, xerr=errors, color=color, label=split)
    axes.set_yticks(places, [row["title"] for row in found.values()], fontsize=8)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.grid(False, axis="y")
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    axes.set_xlabel("mAP over 11 scores, IoU > 0.21", fontsize=9, color=MUTED)
    page.text(0.2, 0.15, "Accuracy on training and test images", 12, weight="bold")
    page.save(path)


def draw_curves(out: Path, results: Mapping[Run, Any], rows: Mapping[str, Row], path: Path) -> None:
    """mAP on training and validation images over the epochs, one panel a row (first seed), as Figures 12 to 19."""
    firsts = dict(reversed(list(results)))
    drawn = [(name, read_history(row_folder(out, (name, firsts[name])) / "training" / "validation.jsonl"))
             for name in rows if name in firsts]  # fmt: skip
    columns = 4
    page = Page(0.6 + 2.9 * columns, 0.7 + 2.2 * -(-len(drawn) // columns))
    for place, (name, lines) in enumerate(drawn):
        axes = page.axes(0.55 + 2.9 * (place % columns), 0.95 + 2.2 * (place // columns), 2.3, 1.35)
        style_plot_axes(axes)
        for prefix, color, label in (("train", SERIES[5], "training"), ("val", SERIES[0], "validation")):
            points = [(line["epoch"], line[f"{prefix}_map11"]) for line in lines if f"{prefix}_map11" in line]
            if points:
                axes.plot(*zip(*points), "o-", ms=2.5, color=color, label=label)
        axes.set_ylim(0, 1)
        axes.set_title(rows[name].title, fontsize=7, loc="left", color=INK)
        axes.tick_params(labelsize=7)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if place == 0:
            axes.legend(fontsize=7, frameon=False, loc="upper left")
    page.text(0.2, 0.15, "mAP over the epochs", 12, weight="bold")
    page.save(path)


def draw_trade_off(found: Mapping[str, Any], path: Path) -> bool:
    """Test mAP over the time a slice takes; the area of a mark grows with the parameters.

    Returns:
        whether any row has been timed, and so drawn.
    """
    points = [(row["speed"], row["test"]["map11"]["mean"], row["title"]) for row in found.values() if row["speed"]]
    if not points:
        return False
    page = Page(9.6, 4.6)
    axes = page.axes(0.75, 0.75, 4.9, 3.2)
    style_plot_axes(axes)
    for number, (speed, accuracy, title) in enumerate(points):
        color = SERIES[number % len(SERIES)]
        axes.scatter(speed["ms_per_slice"], accuracy, s=20 + 6 * speed["parameters"] / 1e6, color=color, alpha=0.75)
        axes.annotate(str(number + 1), (speed["ms_per_slice"], accuracy), fontsize=8, xytext=(6, 4),
                      textcoords="offset points", color=INK)  # fmt: skip
        page.text(5.95, 0.75 + 0.22 * number, f"{number + 1}  {title}", 8, color)
    axes.set_xlim(0, 1.15 * max(speed["ms_per_slice"] for speed, _, _ in points))
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"ms a slice ({points[0][0]['device']}, {points[0][0]['threads']} thread)", fontsize=9, color=MUTED)
    axes.set_ylabel("test mAP", fontsize=9, color=MUTED)
    page.text(0.2, 0.15, "Accuracy against time; the larger a mark, the more parameters", 12, weight="bold")
    page.save(path)
    return True
