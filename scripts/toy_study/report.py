"""The study's table, claims and figure, from what the finished arms left."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markdown_table import markdown_table
from measured_on import commit, machine, versions
from resumable_study import seeds_in, write_text

from lesion_app.metrics.bootstrap import Interval, percentile_interval, resampled_counts
from lesion_app.metrics.object_map import ObjectMap, ObjectMatches
from toy_study.arms import CLAIMS, DETECTORS, GAINS, TASKS, Claim
from toy_study.figure import draw_curves

LEVEL = 0.95
RESAMPLES = 1000
# "Nothing gained" is a gain of less than this.
NO_GAIN = 0.05


class Run(NamedTuple):
    """One arm: ``images`` is the number of training images."""

    task: str
    detector: str
    images: int
    seed: int


def arm_folder(out: Path, run: Run) -> Path:
    return out / "arms" / run.task / f"{run.images}" / run.detector / f"seed{run.seed}"


def finished(out: Path, run: Run) -> bool:
    return (arm_folder(out, run) / "evaluation" / "evaluation.json").is_file()


def finished_runs(out: Path, scale: Mapping[str, Any]) -> list[Run]:
    """Every finished arm that lies in the study's folder: seed by seed, in the order of tasks, images and detectors."""
    arms = [(task, detector, n) for task in TASKS for n in scale["images"] for detector in DETECTORS]
    runs = [Run(*arm, seed) for arm in arms for seed in seeds_in(arm_folder(out, Run(*arm, 0)).parent)]
    return sorted((run for run in runs if finished(out, run)), key=lambda run: run.seed)


class Results:
    """mAP of every finished arm, and its resamples.

    A resample draws seeds with replacement, and for each of them test images with replacement: the first for what
    training leaves to chance, the second for the test set. All detectors of a task see the same draws, so differences
    are paired. One seed alone leaves the images only.
    """

    def __init__(self, out: Path, runs: Sequence[Run], resamples: int = RESAMPLES, seed: int = 0) -> None:
        self.seed = seed
        self.resamples = resamples
        self.found: dict[Run, ObjectMap] = {run: _read(out, run) for run in runs if finished(out, run)}
        self._samples = {run: self._image_samples(run) for run in self.found}

    def seeds(self, task: str, detectors: Sequence[str], images: Sequence[int]) -> list[int]:
        """Seeds in which all of these are finished."""
        every = sorted({run.seed for run in self.found})
        return [s for s in every if all(Run(task, d, n, s) in self.found for d in detectors for n in images)]

    def mean(self, task: str, detector: str, images: int, seeds: Sequence[int]) -> float:
        return statistics.fmean(self.found[Run(task, detector, images, s)].mean for s in seeds)

    def samples(self, task: str, detector: str, images: int, seeds: Sequence[int]) -> np.ndarray:
        """``[B]`` resamples of the mean over ``seeds``."""
        drawn = np.stack([self._samples[Run(task, detector, images, s)] for s in seeds], axis=1)
        counts = resampled_counts(range(len(seeds)), self.resamples, self.seed)
        return (drawn * counts).sum(axis=1) / counts.sum(axis=1)

    def _image_samples(self, run: Run) -> np.ndarray:
        # Another stream for every seed: its images are others.
        return self.found[run].resampled_mean(self.resamples, seed=self.seed + 1 + run.seed)


def _read(out: Path, run: Run) -> ObjectMap:
    document = json.loads((arm_folder(out, run) / "evaluation" / "evaluation.json").read_text())
    matches = {
        int(label): ObjectMatches(
            np.array(m["scores"], dtype=np.float64),
            np.array(m["hits"], dtype=bool),
            np.array(m["cases"], dtype=np.int64),
            np.array(m["n_truth"], dtype=np.int64),
        )
        for label, m in document["matches"].items()
    }
    return ObjectMap(matches, document["map"], {label: m.average_precision for label, m in matches.items()})


def write_report(out: Path, scale: Mapping[str, Any]) -> list[str]:
    """Write ``summary.json``, the three tables and ``curves.png`` of every finished arm in ``out``.

    Returns:
        the names of the files written; none while no arm is done.
    """
    results = Results(out, finished_runs(out, scale))
    if not results.found:
        return []
    images = sorted({run.images for run in results.found})
    summary = {
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "scale": {key: scale[key] for key in ("images", "validation", "test", "toy", "values", "network")},
        "level": LEVEL,
        "curves": {task: curves(results, task, images) for task in TASKS},
        "gains": {task: gains(results, task, images) for task in TASKS},
        "claims": {task: [judged(results, task, claim, images) for claim in CLAIMS[task]] for task in TASKS},
    }
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(out / "table.md", table(summary["curves"], images))
    write_text(out / "gains.md", gains_table(summary["gains"], images))
    write_text(out / "claims.md", claims_table(summary["claims"]))
    draw_curves(summary["curves"], images, LEVEL, out / "curves.png")
    return ["summary.json", "table.md", "gains.md", "claims.md", "curves.png"]


def curves(results: Results, task: str, images: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Every detector's points: mAP, its interval and the value of each seed."""
    found: dict[str, dict[str, Any]] = {}
    for detector in DETECTORS:
        points = {}
        for n in images:
            seeds = results.seeds(task, [detector], [n])
            if not seeds:
                continue
            interval = percentile_interval(results.samples(task, detector, n, seeds), LEVEL)
            points[str(n)] = {
                "map": results.mean(task, detector, n, seeds),
                "low": interval.low,
                "high": interval.high,
                "seeds": {str(s): results.found[Run(task, detector, n, s)].mean for s in seeds},
            }
        if points:
            found[detector] = points
    return found


def judged(results: Results, task: str, claim: Claim, images: Sequence[int]) -> dict[str, Any]:
    """A claim's contrast with its interval, and whether the runs agree; ``open`` when they cannot tell.

    A claim of "more" agrees when the whole interval is above 0 and disagrees when it is below. A claim of "nothing
    gained" disagrees when the whole interval is above 0, and agrees when it is below ``NO_GAIN``.
    """
    at = {n: results.seeds(task, list(claim.weights), [n]) for n in images}
    at = {n: seeds for n, seeds in at.items() if seeds}
    compared = [min(at), max(at)] if claim.where != "all" and len(at) > 1 else list(at)
    entry = {"claim": claim.text, "where": claim.where}
    if not compared or (claim.where != "all" and len(compared) < 2):
        return {**entry, "verdict": "not run"}
    factors = {n: 1 / len(compared) for n in compared} if claim.where == "all" else {min(at): 1.0, max(at): -1.0}
    value, interval = contrast(results, task, claim.weights, {n: (f, at[n]) for n, f in factors.items()})
    if claim.sign == 0:
        verdict = "disagrees" if interval.low > 0 else "agrees" if interval.high < NO_GAIN else "open"
    else:
        verdict = "agrees" if interval.low > 0 else "disagrees" if interval.high < 0 else "open"
    seeds = sorted({s for n in compared for s in at[n]})
    return {**entry, "value": value, "low": interval.low, "high": interval.high, "verdict": verdict, "seeds": seeds}


def contrast(
    results: Results, task: str, weights: Mapping[str, float], at: Mapping[int, tuple[float, Sequence[int]]]
) -> tuple[float, Interval]:
    """Weighted sum of detectors' mAP over numbers of images, each with its own factor and seeds, and its interval."""
    value, samples = 0.0, np.zeros(results.resamples)
    for n, (factor, seeds) in at.items():
        for detector, weight in weights.items():
            value += factor * weight * results.mean(task, detector, n, seeds)
            samples += factor * weight * results.samples(task, detector, n, seeds)
    return value, percentile_interval(samples, LEVEL)


def gains(results: Results, task: str, images: Sequence[int]) -> dict[str, dict[str, Any]]:
    """What masks bring at every number of images (``GAINS``), with intervals."""
    found: dict[str, dict[str, Any]] = {}
    for name, weights in GAINS.items():
        points = {}
        for n in images:
            seeds = results.seeds(task, list(weights), [n])
            if seeds:
                value, interval = contrast(results, task, weights, {n: (1.0, seeds)})
                points[str(n)] = {"value": value, "low": interval.low, "high": interval.high, "seeds": seeds}
        if points:
            found[name] = points
    return found


def table(found: Mapping[str, Mapping[str, Any]], images: Sequence[int]) -> str:
    """mAP in per cent with its interval, one row a task and detector."""
    head = ["task", "detector", "stages", *(f"n = {n}" for n in images), "seeds"]
    lines: list[list[str]] = []
    for task, of_task in found.items():
        for detector, points in of_task.items():
            cells = [TASKS[task], DETECTORS[detector].title, str(DETECTORS[detector].stages)]
            for n in images:
                p = points.get(str(n))
                cells.append("-" if p is None else f"{_percent(p['map'])} ({_percent(p['low'])}-{_percent(p['high'])})")
            cells.append(str(max(len(p["seeds"]) for p in points.values())))
            lines.append(cells)
    return "\n".join(markdown_table(head, lines)) + "\n"


def claims_table(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """What the paper says and what came out."""
    head = ["task", "the paper says", "averaged over", "points of mAP", "95 % interval", "our runs"]
    lines: list[list[str]] = []
    for task, claims in found.items():
        for c in claims:
            value, interval = "-", "-"
            if "value" in c:
                value, interval = f"{100 * c['value']:+.1f}", f"{100 * c['low']:+.1f} to {100 * c['high']:+.1f}"
            where = "all n" if c["where"] == "all" else "n smallest less n largest"
            lines.append([TASKS[task], c["claim"], where, value, interval, c["verdict"]])
    return "\n".join(markdown_table(head, lines)) + "\n"


def gains_table(found: Mapping[str, Mapping[str, Any]], images: Sequence[int]) -> str:
    """Points of mAP that masks bring, one row a task and pair of detectors."""
    lines: list[list[str]] = []
    for task, of_task in found.items():
        for name, points in of_task.items():
            values = [points.get(str(n)) for n in images]
            lines.append([TASKS[task], name, *("-" if p is None else _gained(p) for p in values)])
    return "\n".join(markdown_table(["task", "gain", *(f"n = {n}" for n in images)], lines)) + "\n"


def _gained(point: Mapping[str, Any]) -> str:
    return f"{100 * point['value']:+.1f} ({100 * point['low']:+.1f} to {100 * point['high']:+.1f})"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
