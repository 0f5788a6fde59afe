"""The study's table and summary, from what the finished arms left."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markdown_table import markdown_table
from measured_on import commit, machine
from resumable_study import percent, seeds_in, spread, write_text

from lesion_app.handlers.training_history import read_history
from missing_labels.arms import Arm
from missing_labels.findings import difference_noise, findings, findings_table
from missing_labels.offline_mining import mined_once
from missing_labels.pictures import Run, draw_curves, draw_froc, draw_scores, shared_seeds

LEAKAGE = "leakage.txt"
"""In a folder of data with lesions inserted into real CTs: what its splits share."""
SIZES = ("< 10 mm", "10-30 mm", ">= 30 mm")
SMALL = SIZES[0]


def write_report(out: Path, arms: Mapping[str, Arm], scale: Mapping[str, Any]) -> list[str]:
    """Write ``summary.json``, ``table.md``, ``findings.md`` and pictures of every finished run in ``out``.

    Returns:
        the names of the files written; none while no run is done.
    """
    runs = [(name, seed) for name in arms for seed in seeds_in(out / "arms" / name)]
    results = {run: result for run in runs if (result := read_run(out, run, arms[run[0]])) is not None}
    if not results:
        return []
    summary = {
        "machine": machine(),
        "commit": commit(),
        "missing_rate": scale["missing_rate"],
        "patients": scale["patients"],
        "backgrounds": [str(path) for path in scale.get("backgrounds") or []],
        "splits_share": sorted({path.read_text().strip() for path in out.glob(f"data/*/{LEAKAGE}")}),
        "recovery": recovery(results),
        "arms": {
            name: {**summarise(name, arm, results), "commits": commits(out / "arms" / name)}
            for name, arm in arms.items()
            if any(r[0] == name for r in results)
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
        ("curves.png", ("teacher_p3d_ap",), "The teacher on the validation patients"),
        ("mining.png", ("mined_precision", "mined_recall"), "What is mined"),
    ):
        if draw_curves(out, results, arms, out / name, figures, title):
            written.append(name)
    if draw_scores(out, results, arms, out / "scores.png"):
        written.append("scores.png")
    return written


def commits(arm_folder: Path) -> list[str]:
    """Of the code that the seeds of an arm were trained with; ``+`` = with changes."""
    described = [json.loads(path.read_text()) for path in sorted(arm_folder.glob("seed*/arm.json"))]
    return list(dict.fromkeys(one for arm in described for one in arm.get("commits", [])))


def read_run(out: Path, run: Run, arm: Arm) -> dict[str, Any] | None:
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
    if arm.offline is not None and arm.offline[1] == "mined" and datalist.is_file():
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
        seeds = shared_seeds(results, ("complete", "partial", name))
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
