"""A part of the body, and the lesions that prevail in a data set of one lesion type."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Site:
    """Where a data set's scans lie and what it is about.

    Args:
        level_mm: lowest and highest height of the middle of a sub-volume (adult mm above the pelvic floor).
        types: its lesion types (1..8).
        share: chance that a lesion is tried as one of these first; the others keep their mutual weights. In (0, 1).
    """

    level_mm: tuple[float, float]
    types: tuple[int, ...]
    share: float = 0.6

    def weighted(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Chances [8] of the types 1..8 from their usual ``weights`` [8]."""
        own = np.isin(np.arange(1, 9), self.types)
        chances = np.empty(8)
        chances[own] = self.share * weights[own] / weights[own].sum()
        chances[~own] = (1 - self.share) * weights[~own] / weights[~own].sum()
        return chances
