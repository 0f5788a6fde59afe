"""Whether the orders of Bai & Xia's tables hold here: comparisons of two arms, paper and study side by side."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from markdown_table import markdown_table

Scores = Mapping[tuple[str, int], float]
"""AP of the teacher by (arm, seed)."""


@dataclass(frozen=True)
class Comparison:
    """A claim that the arm ``better`` reaches a higher AP than ``worse``; ``paper`` = their APs there, per cent."""

    claim: str
    worse: str
    better: str
    paper: tuple[float, float] | None = None
    source: str = "not in the paper"


COMPARISONS = (
    Comparison("mining raises the AP", "partial", "ours", (45.0, 50.2), "Table I, R to R + P+"),
    Comparison("hard negatives raise it further", "ours", "hard-negatives", (50.2, 55.3), "Table I, R + P+ + P-"),
    Comparison("tau 0.90 is better than 0.95", "tau-0.95", "ours", (46.90, 47.91), "Table II"),
    Comparison("tau 0.90 is better than 0.85", "tau-0.85", "ours", (45.04, 47.91), "Table II"),
    Comparison("tau 0.90 is better than 0.80", "tau-0.80", "ours", (31.25, 47.91), "Table II"),
    Comparison("tau 0.80 is worse than no mining", "tau-0.80", "partial", (31.25, 45.0), "Tables I and II"),
    Comparison("adding is better than ignoring", "ignore", "ours", (48.96, 50.21), "Table III"),
    Comparison("ignoring is better than nothing", "partial", "ignore", (45.0, 48.96), "Tables I and III"),
    Comparison("a constant learning rate is better", "lr-decay", "ours", (46.10, 48.57), "Table IV"),
    Comparison(
        "online is better than one-shot mining", "offline", "ours", (43.6, 50.2), "Table I, Cai et al. and ours"
    ),
    Comparison("one-shot mining at 0.50 is better than online at 0.90", "ours", "offline-0.50"),
    Comparison("ignoring doubtful finds always helps (from 0.5)", "ours", "ours-band"),
    Comparison("mining helps where 30 % are missing", "missing-0.3-partial", "missing-0.3-ours"),
    Comparison("mining helps where 50 % are missing", "missing-0.5-partial", "missing-0.5-ours"),
    Comparison("mining helps where 70 % are missing", "missing-0.7-partial", "missing-0.7-ours"),
    Comparison("found in 2 of 3 visits is better than one look (tau 0.85)", "tau-0.85", "bank"),
    Comparison("found in 2 of 3 visits at 0.85 is better than 0.90", "ours", "bank"),
    Comparison("found in 2 of 3 visits is better than one look (tau 0.90)", "ours", "bank-0.90"),
    Comparison("hard negatives raise that of boxes found in 2 of 3 visits further", "bank-0.90", "bank-negatives"),
    Comparison("hard negatives raise the AP without mining", "partial", "partial-negatives"),
    Comparison("mining raises the AP where the hard negatives are the same", "same-negatives", "hard-negatives"),
    Comparison("mining what was found in 2 of 3 visits does, too", "same-negatives", "bank-negatives"),
    Comparison("mining found in 2 of 3 visits, with hard negatives, raises the AP", "partial", "bank-negatives"),
    Comparison("hard negatives allow a lower tau (0.70)", "hard-negatives", "hard-negatives-0.70"),
)


@dataclass(frozen=True)
class Finding:
    """What the study says of a comparison.

    Args:
        gain: AP of ``better`` minus that of ``worse``, a value a seed that both have.
        verdict: ``holds``, ``does not hold``, ``within noise``, or ``unknown`` while the noise is.
    """

    comparison: Comparison
    gain: tuple[float, ...]
    verdict: str


def difference_noise(scores: Scores) -> float | None:
    """Standard deviation of one seed's AP difference between two arms, pooled over all pairs with several seeds.

    The patients are the seed's: an AP differs with them, a difference of two arms less. None without a pair that
    shares two seeds.
    """
    variances = []
    for a, b in itertools.combinations(sorted({arm for arm, _ in scores}), 2):
        gains = _gains(scores, a, b)
        if len(gains) > 1:
            variances.append(statistics.variance(gains))
    return math.sqrt(statistics.fmean(variances)) if variances else None


def findings(scores: Scores, noise: float | None, deviations: float = 2.0) -> list[Finding]:
    """Judge every comparison whose arms have a seed in common.

    Args:
        scores: of the runs that are done.
        noise: :func:`difference_noise` of them.
        deviations: standard errors within which a gain is noise. The error is that of ``noise`` or that of the
            comparison's own gains, whichever is larger: one seed that went wrong makes no order.
    """
    found = []
    for comparison in COMPARISONS:
        gains = _gains(scores, comparison.worse, comparison.better)
        if gains:
            found.append(Finding(comparison, tuple(gains), _verdict(gains, noise, deviations)))
    return found


def findings_table(found: list[Finding], noise: float | None, measured: bool = True) -> str:
    """Markdown, gains in points of AP (per cent); ``measured`` = the noise is that of these very runs."""
    head = ["order", "source", "paper", "here", "seed by seed", "verdict"]
    rows: list[list[str]] = []
    for one in found:
        theirs = "-" if one.comparison.paper is None else f"{one.comparison.paper[1] - one.comparison.paper[0]:+.1f}"
        gain = f"{100 * statistics.fmean(one.gain):+.1f}"
        each = " / ".join(f"{100 * value:+.1f}" for value in one.gain) if len(one.gain) > 1 else "one"
        rows.append([one.comparison.claim, one.comparison.source, theirs, gain, each, one.verdict])
    lines = markdown_table(head, rows)
    if noise is not None:
        told = f"Noise: one seed's difference of two arms has a standard deviation of {100 * noise:.1f} points"
        lines += ["", told + ("." if measured else " (the scale's; no two arms here share two seeds).")]
    return "\n".join(lines) + "\n"


def _gains(scores: Scores, worse: str, better: str) -> list[float]:
    seeds = sorted(seed for arm, seed in scores if arm == worse and (better, seed) in scores)
    return [scores[better, seed] - scores[worse, seed] for seed in seeds]


def _verdict(gains: list[float], noise: float | None, deviations: float) -> str:
    if noise is None:
        return "unknown"
    gain = statistics.fmean(gains)
    spread = max(noise, statistics.stdev(gains)) if len(gains) > 1 else noise
    if abs(gain) < deviations * spread / math.sqrt(len(gains)):
        return "within noise"
    return "holds" if gain > 0 else "does not hold"
