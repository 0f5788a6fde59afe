"""The study's table, summary and curve, from what the finished rounds left."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markdown_table import markdown_table
from matplotlib.axes import Axes
from measured_on import commit, machine
from resumable_study import percent, seeds_in, spread, write_text

from lesion_app.visualize.page import Page, style_plot_axes
from lesion_app.visualize.palette import MUTED, SERIES
from review_study.scales import ARMS, START

OURS = "volumes"
SMALL = "< 10 mm"


def read_points(out: Path, arm: str, seed: int, rounds: int) -> list[dict[str, Any]]:
    """The first model's figures, then those of the arm's rounds as far as they are done; none without a first model.

    ``volumes`` is how often a reader had to open a volume so far: the volumes of every round's decisions.
    """
    start = out / "arms" / START / f"seed{seed}" / "round.json"
    paths = [start, *(out / "arms" / arm / f"seed{seed}" / f"round{n}" / "round.json" for n in range(1, rounds + 1))]
    points, volumes = [], 0
    for path in paths:
        if not path.is_file():
            break
        decisions = path.with_name("decisions.json")
        if decisions.is_file():
            volumes += len({one["record"] for one in json.loads(decisions.read_text())["decisions"]})
        points.append({**json.loads(path.read_text()), "volumes": volumes})
    return points


def write_report(out: Path, scale: Mapping[str, Any]) -> list[str]:
    """Write ``summary.json``, ``table.md`` and ``review.png`` of every finished round in ``out``.

    Returns:
        the names of the files written; none while no round is done.
    """
    curves = {
        arm: {
            seed: points
            for seed in seeds_in(out / "arms" / arm)
            if len(points := read_points(out, arm, seed, scale["rounds"])) > 1
        }
        for arm in ARMS
    }
    curves = {arm: found for arm, found in curves.items() if found}
    if not curves:
        return []
    summary: dict[str, Any] = {
        "machine": machine(),
        "commit": commit(),
        "patients": scale["patients"],
        "boxes_a_round": scale["boxes"],
        "arms": {arm: summarise(arm, found) for arm, found in curves.items()},
        "ours_minus": {arm: gain(curves[OURS], found) for arm, found in curves.items() if arm != OURS}
        if OURS in curves
        else {},
    }
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(out / "table.md", table(summary))
    draw_curves(curves, out / "review.png")
    return ["summary.json", "table.md", "review.png"]


def summarise(arm: str, found: Mapping[int, list[dict[str, Any]]]) -> dict[str, Any]:
    """Mean, standard deviation and single values over the seeds, round by round."""
    rows = []
    for number in range(max(map(len, found.values()))):
        here = [points[number] for points in found.values() if len(points) > number]
        row: dict[str, Any] = {"seeds": len(here), "reviewed": spread([p["reviewed"] for p in here])}
        row["volumes"] = spread([p["volumes"] for p in here])
        row["p3d_ap"] = spread([p["teacher"]["p3d_ap"] for p in here])
        row["average_sensitivity"] = spread([p["teacher"]["average_sensitivity"] for p in here])
        for key in ("waiting", "confirmed", "rejected", "unknown"):
            if all(key in p for p in here):
                row[key] = spread([p[key] for p in here])
        small = [p["teacher"]["by_size"][SMALL]["p3d_ap"] for p in here if SMALL in p["teacher"]["by_size"]]
        if small:
            row[f"p3d_ap {SMALL}"] = spread(small)
        rows.append(row)
    return {"title": ARMS[arm].title, "seeds": sorted(found), "rounds": rows}


def gain(ours: Mapping[int, list[dict[str, Any]]], other: Mapping[int, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """AP of our order minus that of another one after equally many rounds, seed by seed (both start from one model)."""
    rows = []
    for number in range(1, min(max(map(len, ours.values())), max(map(len, other.values())))):
        both = [s for s in sorted(set(ours) & set(other)) if min(len(ours[s]), len(other[s])) > number]
        values = [ours[s][number]["teacher"]["p3d_ap"] - other[s][number]["teacher"]["p3d_ap"] for s in both]
        if values:
            rows.append({"round": number, "seeds": both, "p3d_ap": spread(values)})
    return rows


def table(summary: Mapping[str, Any]) -> str:
    """A row an arm and round as Markdown; AP in per cent."""
    head = [
        "order",
        "round",
        "seeds",
        "boxes reviewed",
        "volumes opened",
        "confirmed / rejected / unknown",
        "AP",
        "AP < 10 mm",
        "ours minus this",
    ]
    lines: list[list[str]] = []
    for arm, found in summary["arms"].items():
        less = {row["round"]: row["p3d_ap"] for row in summary["ours_minus"].get(arm, [])}
        for number, row in enumerate(found["rounds"]):
            told = [f"{row[key]['mean']:.0f}" for key in ("confirmed", "rejected", "unknown") if key in row]
            cells = [
                found["title"],
                str(number),
                str(row["seeds"]),
                f"{row['reviewed']['mean']:.0f}",
                f"{row['volumes']['mean']:.0f}",
                " / ".join(told) or "-",
                percent(row["p3d_ap"]),
                percent(row.get(f"p3d_ap {SMALL}")),
                percent(less.get(number), signed=True),
            ]
            lines.append(cells)
    return "\n".join(markdown_table(head, lines)) + "\n"


def draw_curves(curves: Mapping[str, Mapping[int, list[dict[str, Any]]]], path: Path) -> None:
    """What AP is won against reviewed boxes and against volumes opened for them: mean over the seeds, band = range.

    Won is counted from the seed's first model: seeds differ in their test patients by more than orders do.
    """
    page = Page(12.0, 4.6)
    for left, spent, label in ((0.7, "reviewed", "reviewed boxes"), (6.7, "volumes", "volumes opened for them")):
        axes = page.axes(left, 0.45, 5.0, 3.5)
        style_plot_axes(axes)
        _draw_ap(axes, curves, spent)
        axes.set_xlabel(label, fontsize=9, color=MUTED)
        axes.set_xlim(left=0)
        if spent == "reviewed":
            axes.legend(fontsize=8, frameon=False, loc="best")
    page.text(
        0.2, 0.12, "Points of P3D AP over the first model, test patients, teacher; mean and range of the seeds", 10
    )
    page.save(path)


def _draw_ap(axes: Axes, curves: Mapping[str, Mapping[int, list[dict[str, Any]]]], spent: str) -> None:
    looked = [found for arm, found in curves.items() if ARMS[arm].order is not None]
    for color, arm in zip(SERIES, ARMS):
        found = curves.get(arm)
        if not found:
            continue
        label = f"{ARMS[arm].title} (n = {len(found)})"
        count = min(map(len, found.values()))
        values = 100 * np.array([[points[n]["teacher"]["p3d_ap"] for n in range(count)] for points in found.values()])
        values -= values[:, :1]
        at = [_mean(found, n, spent) for n in range(count)]
        if ARMS[arm].order is None:
            if spent != "reviewed" or not looked:
                continue
            # Nobody reviewed anything there; its rounds stand where the readers' stand.
            places = max(looked[0].values(), key=len)
            at = [float(places[n][spent]) for n in range(min(count, len(places)))]
        axes.plot(at, values.mean(axis=0)[: len(at)], "o-" if ARMS[arm].order else "--", color=color, label=label, ms=4)
        low, high = values.min(axis=0)[: len(at)], values.max(axis=0)[: len(at)]
        axes.fill_between(at, low, high, color=color, alpha=0.15, lw=0)


def _mean(found: Mapping[int, list[dict[str, Any]]], number: int, key: str) -> float:
    return statistics.fmean(points[number][key] for points in found.values())
