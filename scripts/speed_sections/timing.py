"""Timing of things that are compared: interleaved, warmed up, medians and ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def interleaved(jobs: Mapping[str, Callable[[], Any]], repetitions: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of each job, one repetition of each in turn, so that a slow moment of the machine hits all alike.

    Args:
        jobs: by name.
        repetitions: that count.
        warm_up: rounds before them that do not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(warm_up + repetitions):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(seconds: list[float], per: float = 1.0) -> dict[str, float]:
    """Median, smallest and largest, divided by ``per`` (slices a repetition, for instance)."""
    return {"median": statistics.median(seconds) / per, "min": min(seconds) / per, "max": max(seconds) / per}


def ratio(slow: list[float], fast: list[float], slow_per: float = 1.0, fast_per: float = 1.0) -> dict[str, float]:
    """How many times faster ``fast`` is: median, smallest and largest of the rounds' own ratios."""
    rounds = [(a / slow_per) / (b / fast_per) for a, b in zip(slow, fast)]
    return {"median": statistics.median(rounds), "min": min(rounds), "max": max(rounds)}
