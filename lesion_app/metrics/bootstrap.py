"""Bootstrap intervals over patients (or images), seeded."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A percentile interval.

    Args:
        low, high: its ends; NaN when no resample had a value.
        level: share of the resamples within.
        resamples: how many resamples had a value.
    """

    low: float
    high: float
    level: float
    resamples: int


def resampled_counts(groups: Sequence[Hashable], resamples: int, seed: int) -> np.ndarray:
    """How often each case is drawn when its patients are drawn with replacement, as many as there are.

    The same groups and seed give the same draws, so differences of two models between their equal rows are paired.

    Args:
        groups: one a case (its patient); cases of one group are drawn together. By order of first appearance.
        resamples: B, >= 1.
        seed: of the draws.

    Returns:
        ``[B, cases]`` int64.

    Raises:
        ValueError: no case, or no resample.
    """
    if not groups or resamples < 1:
        raise ValueError(f"a bootstrap needs cases and resamples, got {len(groups)} and {resamples}")
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    of_case = np.array([number[group] for group in groups])
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(number), np.full(len(number), 1 / len(number)), size=resamples)
    return drawn[:, of_case]


def percentile_interval(values: np.ndarray, level: float = 0.95) -> Interval:
    """The interval between the percentiles (1 - level) / 2 and (1 + level) / 2; values that are NaN are left out.

    Args:
        values: ``[B]``, the measure on every resample.
        level: in (0, 1).

    Raises:
        ValueError: another level.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return Interval(float("nan"), float("nan"), level, 0)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, len(known))
