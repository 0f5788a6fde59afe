"""The study's tables, summary and picture, from what the finished arms left."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markdown_table import markdown_table
from measured_on import commit, machine
from resumable_study import percent, seeds_in, spread, write_text

from lens_study.arms import ARMS, Evaluation
from lens_study.run_arm import FIGURES, Places
from lesion_app.visualize.page import Page, style_plot_axes
from lesion_app.visualize.palette import MUTED, SERIES

FP_POINTS = ("0.125", "0.25", "0.5", "1", "2", "4", "8")
# Rows of the paper's Tables III and IV that are rows of the ladder.
REPEATED = {
    "III": [("single", "alone", "no mining", 36.8)],
    "IV": [("single", "alone", "single data set", 36.8)],
    "experts": [("multi", "expert", "deeplesion's expert", None), ("multi", "fused", "fused", None)],
}
LAST = {"IV": [("mined", "fused", "proposed", 47.6)]}


def write_report(out: Path, scale: str) -> list[str]:
    """Write ``summary.json``, ``tables.md`` and ``ladder.png`` of every finished run in ``out``.

    Returns:
        the names of the files written; none while nothing has been measured.
    """
    seeds = sorted({seed for name in ARMS for seed in seeds_in(Places(out, 0).arm(name).parent)})
    rows = [
        {
            "arm": name,
            "evaluation": row.name,
            "title": row.title,
            "table": row.table,
            "published": row.published,
            **found,
        }
        for name, arm in ARMS.items()
        for row in arm.evaluations
        if (found := measured(out, name, row, seeds))
    ]
    mining = {
        str(seed): json.loads(path.read_text())
        for seed in seeds
        if (path := Places(out, seed).mining / "mining.json").is_file()
    }
    if not rows:
        return []
    summary = {"scale": scale, "machine": machine(), "commit": commit(), "rows": rows, "mining": mining}
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(out / "tables.md", tables(rows, mining))
    written = ["summary.json", "tables.md"]
    if ladder := [row for row in rows if row["table"] in ("I", "ours")]:
        draw_ladder(ladder, out / "ladder.png")
        written.append("ladder.png")
    return written


def measured(out: Path, name: str, row: Evaluation, seeds: Sequence[int]) -> dict[str, Any]:
    """Average sensitivity, sensitivities and AP of a row by seed; empty when it was not run."""
    found = {}
    for seed in seeds:
        path = Places(out, seed).arm(name) / row.name / FIGURES
        if path.is_file():
            found[seed] = json.loads(path.read_text())["models"]["teacher"]
    if not found:
        return {}
    return {
        "seeds": sorted(found),
        "average_sensitivity": [found[s]["average_sensitivity"] for s in sorted(found)],
        "iobb_ap": [found[s]["iobb_ap"] for s in sorted(found)],
        "sensitivity": {fp: [found[s]["sensitivity"][fp] for s in sorted(found)] for fp in FP_POINTS},
        "threshold_at_1_fp": [found[s]["threshold_at_1_fp"] for s in sorted(found)],
    }


def tables(rows: Sequence[dict[str, Any]], mining: dict[str, Any]) -> str:
    """Tables I, III and IV in Markdown, ours beside the paper's, and what mining found."""
    parts = ["### Table I: the ladder", "", _ladder([row for row in rows if row["table"] in ("I", "ours")]), ""]
    for table, title in (("III", "mining strategies, DeepLesion alone"), ("IV", "combining data sets")):
        parts += [f"### Table {table}: {title}", "", _first_seed(_of_table(table, rows)), ""]
    parts += ["### What each expert finds by itself", "", _experts(_of_table("experts", rows)), ""]
    if mining:
        parts += ["### What mining found", "", _mining(mining)]
    return "\n".join(parts) + "\n"


def _of_table(table: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A table's own rows, between those of other tables that are repeated in it."""
    by_place = {(row["arm"], row["evaluation"]): row for row in rows}

    def taken(places: Sequence[tuple[str, str, str, float | None]]) -> list[dict[str, Any]]:
        return [
            {**by_place[(arm, name)], "title": text, "published": published}
            for arm, name, text, published in places
            if (arm, name) in by_place
        ]

    own = [row for row in rows if row["table"] == table]
    return [*taken(REPEATED.get(table, [])), *own, *taken(LAST.get(table, []))]


def _ladder(rows: Sequence[dict[str, Any]]) -> str:
    head = ["row", *(f"{fp} FP" for fp in FP_POINTS), "average", "by seed", "against the row before, by seed", "paper"]
    lines: list[list[str]] = []
    before: dict[str, Any] | None = None
    for row in rows:
        values = dict(zip(row["seeds"], row["average_sensitivity"]))
        steps = "-"
        if before is not None and row["table"] == "I":
            earlier = dict(zip(before["seeds"], before["average_sensitivity"]))
            steps = ", ".join(f"{100 * (values[s] - earlier[s]):+.1f}" for s in row["seeds"] if s in earlier)
        cells = [row["title"]]
        cells += [f"{100 * statistics.fmean(row['sensitivity'][fp]):.1f}" for fp in FP_POINTS]
        cells += [
            percent(spread(row["average_sensitivity"])),
            _each(row["average_sensitivity"]),
            steps,
            _published(row),
        ]
        lines.append(cells)
        before = row
    return "\n".join(markdown_table(head, lines))


def _first_seed(rows: Sequence[dict[str, Any]]) -> str:
    """The side tables compare runs of one seed: the first that all rows have; a row apart from them shows its own."""
    head = ["row", "seed", "average sensitivity", "AP", "other seeds", "paper"]
    lines: list[list[str]] = []
    shared = set(rows[0]["seeds"]).intersection(*(row["seeds"] for row in rows)) if rows else set()
    for row in rows:
        sensitivity = dict(zip(row["seeds"], row["average_sensitivity"]))
        seed = min(shared) if shared else row["seeds"][0]
        ap = row["iobb_ap"][row["seeds"].index(seed)]
        others = ", ".join(f"{other}: {100 * value:.1f}" for other, value in sensitivity.items() if other != seed)
        figures = [f"{100 * value:.1f}" for value in (sensitivity[seed], ap)]
        lines.append([row["title"], str(seed), *figures, others or "-", _published(row)])
    return "\n".join(markdown_table(head, lines))


def _experts(rows: Sequence[dict[str, Any]]) -> str:
    head = ["who", "average sensitivity", "by seed", "score at 1 FP, by seed"]
    lines = [
        [
            row["title"],
            percent(spread(row["average_sensitivity"])),
            _each(row["average_sensitivity"]),
            ", ".join(f"{score:.2f}" for score in row["threshold_at_1_fp"]),
        ]
        for row in rows
    ]
    return "\n".join(markdown_table(head, lines))


def _mining(mining: dict[str, Any]) -> str:
    head = ["strategy", "seed", "boxes", "slices", "new lesions", "precision", "recall"]
    lines: list[list[str]] = []
    names = list(dict.fromkeys(name for found in mining.values() for name in found["strategies"]))
    for name in names:
        for seed, found in mining.items():
            row = found["strategies"].get(name)
            if row is not None:
                shares = [f"{100 * row[key]:.1f} %" if key in row else "-" for key in ("precision", "recall")]
                counts = [f"{row[key]:,}" for key in ("boxes", "slices", "lesions")]
                lines.append([name, seed, *counts, *shares])
    used = ", ".join(f"seed {seed}: {found['thresholds']['delta']:.3f}" for seed, found in mining.items())
    return "\n".join([*markdown_table(head, lines), "", f"delta chosen from the data, {used}"])


def _each(values: Sequence[float]) -> str:
    return ", ".join(f"{100 * value:.1f}" for value in values)


def _published(row: dict[str, Any]) -> str:
    return "-" if row["published"] is None else f"{row['published']:.1f}"


def draw_ladder(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Average sensitivity of the ladder's rows: bars for the mean, dots for the seeds, the paper's as lines."""
    page = Page(8.0, 0.55 * len(rows) + 1.5)
    axes = page.axes(3.4, 0.55, 4.3, 0.55 * len(rows))
    style_plot_axes(axes)
    places = np.arange(len(rows))[::-1]
    for place, row in zip(places, rows):
        values = 100 * np.array(row["average_sensitivity"])
        axes.barh(place, values.mean(), height=0.6, color=SERIES[0], alpha=0.55)
        axes.plot(values, np.full(len(values), place), "o", color=SERIES[0], ms=4)
        if row["published"] is not None:
            axes.plot([row["published"]] * 2, [place - 0.36, place + 0.36], color=SERIES[1], lw=2)
    axes.set_yticks(places, [row["title"] for row in rows], fontsize=8)
    axes.set_xlabel("average sensitivity, %", fontsize=9, color=MUTED)
    page.text(0.2, 0.12, "LENS step by step: phantom (bars: mean, dots: seeds), paper on DeepLesion (lines)", 10)
    page.save(path)
