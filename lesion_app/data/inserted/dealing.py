"""Which part of which real CT serves training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from lesion_app.data.inserted.background import Stretch
from lesion_app.data.phantom.deeplesion_layout import SPLITS
from lesion_app.data.phantom.sub_volume import refuse

SplitRule = Literal["auto", "volume", "z_range"]
SPLIT_RULES = ("auto", "volume", "z_range")

LEAKAGE = {
    "volume": (
        "Every background serves one split only: no patient is seen in both training and testing, provided that no two "
        "backgrounds are of one patient."
    ),
    "z_range": (
        "All splits share the backgrounds' patients: training, validation and test use different z-ranges of the same "
        "CTs. No voxel serves two splits, but a patient's habitus, contrast phase and noise do, so "
        "the figures say nothing about patients or scanners that were not seen."
    ),
}
"""What each rule keeps apart and what it does not."""


def deal_stretches(
    stretches: Sequence[Stretch],
    steps_mm: Sequence[float],
    shares: tuple[float, float, float],
    thickness_mm: tuple[float, float],
    rule: SplitRule,
    rng: np.random.Generator,
) -> tuple[Literal["volume", "z_range"], dict[str, list[Stretch]]]:
    """Give every split its own stretches.

    ``volume``: each background belongs to one split. ``z_range``: every free stretch is cut into blocks that hold the
    longest sub-volume wanted (or one that holds the shortest), and the blocks are dealt. ``auto``: ``volume`` where
    there are as many backgrounds as splits, else ``z_range``. Validation and test get their shares, at least one each.

    Args:
        stretches: free parts of all backgrounds, from slice to slice.
        steps_mm: slice spacing of each background.
        shares: of training, validation and test; a split with share 0 gets nothing.
        thickness_mm: shortest and longest stretch of a sub-volume.
        rule: see above.
        rng: deals.

    Returns:
        The rule that was followed, and split -> stretches.

    Raises:
        InputError: when there are fewer parts than splits.
    """
    shortest, longest = thickness_mm
    usable = [one for one in stretches if one.length_mm >= shortest]
    backgrounds = sorted({one.background for one in usable})
    needed = sum(share > 0 for share in shares)
    followed: Literal["volume", "z_range"]
    if rule == "auto":
        followed = "volume" if len(backgrounds) >= needed else "z_range"
    else:
        followed = rule
    if followed == "volume":
        parts = [[one for one in usable if one.background == number] for number in backgrounds]
    else:
        parts = [[block] for one in usable for block in _blocks(one, longest, steps_mm[one.background])]
    if len(parts) < needed:
        refuse(
            f"the backgrounds have {len(parts)} {'volumes' if followed == 'volume' else 'z-ranges'} of {shortest:g} mm "
            f"free of known lesions for {needed} splits",
            "at least one for each: add backgrounds, shorten thickness_mm"
            + (" or use the rule z_range" if followed == "volume" else ""),
        )
    order = rng.permutation(len(parts))
    dealt: dict[str, list[Stretch]] = {name: [] for name in SPLITS}
    counts = _counts(len(parts), shares)
    for name, first, count in zip(SPLITS, np.cumsum([0, *counts[:-1]]), counts):
        for index in sorted(order[first : first + count]):
            dealt[name].extend(parts[index])
    return followed, dealt


def _blocks(stretch: Stretch, longest: float, step: float) -> list[Stretch]:
    """Cut at slices, so that no slice of the background is interpolated into two blocks."""
    numbers = np.arange(round(stretch.low_mm / step), round(stretch.high_mm / step) + 1)
    count = max(1, len(numbers) // (int(np.ceil(longest / step)) + 1))
    runs = np.array_split(numbers, count)
    return [Stretch(stretch.background, float(run[0] * step), float(run[-1] * step)) for run in runs]


def _counts(parts: int, shares: tuple[float, float, float]) -> list[int]:
    """Parts for each split: shares rounded, at least one where there is a share; the largest split gives way."""
    counts = [max(1, round(parts * share)) if share > 0 else 0 for share in shares]
    largest = int(np.argmax(shares))
    counts[largest] += parts - sum(counts)
    while counts[largest] < 1:
        counts[int(np.argmax(counts))] -= 1
        counts[largest] += 1
    return counts
