"""Which rows of one table belong to which rows of another."""

from __future__ import annotations

import numpy as np


def pairs_with_equal_keys(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of rows whose keys agree (the inner join of two tables).

    Args:
        left: ``[N]`` integer keys, any order, repeats allowed.
        right: ``[M]`` likewise.

    Returns:
        Row of ``left`` ``[P]`` and row of ``right`` ``[P]`` of every pair, ordered by the former, then the latter.
    """
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    first = np.searchsorted(ordered, left, side="left")
    count = np.searchsorted(ordered, left, side="right") - first
    left_row = np.repeat(np.arange(len(left)), count)
    nth = np.arange(len(left_row)) - np.repeat(np.cumsum(count) - count, count)
    return left_row, order[first[left_row] + nth]
