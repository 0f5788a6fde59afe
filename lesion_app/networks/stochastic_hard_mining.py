"""Stochastic hard example mining (SHEM): background to learn from, drawn among the most lesion-like."""

from __future__ import annotations

import torch
from torch import Tensor


def stochastic_hard_mining(
    foreground_scores: Tensor, count: int, pool_factor: int = 20, generator: torch.Generator | None = None
) -> Tensor:
    """Draw ``count`` of the hardest ``pool_factor * count`` candidates.

    Jaeger et al., "Retina U-Net", ML4H 2019, section 4.3 ("we stochastically mine the hardest negative object
    candidates according to softmax probability"); rule of the published program: sort by the highest foreground
    probability, keep the first ``pool_factor * count``, draw ``count`` of them, each as likely, none twice.

    Args:
        foreground_scores: ``[N]`` highest softmax probability of a foreground class of each background candidate.
        count: how many are wanted; all N where there are not more.
        pool_factor: 20 in the paper's one-stage detectors, 10 in its Mask R-CNN.
        generator: of the CPU, for draws of one's own; None = torch's global one, which a run seeds and resumes.

    Returns:
        indices ``[min(count, N)]`` int64 in the order drawn. The same on every device for the same scores.

    Raises:
        ValueError: scores other than ``[N]``, a negative count or a pool factor below 1.
    """
    if foreground_scores.ndim != 1 or count < 0 or pool_factor < 1:
        raise ValueError(
            f"expected scores [N], a count from 0 and a pool factor from 1, got {list(foreground_scores.shape)}, "
            f"{count} and {pool_factor}"
        )
    pool = torch.sort(foreground_scores, descending=True, stable=True).indices[: pool_factor * count]
    chosen = torch.randperm(len(pool), generator=generator)[:count]
    return pool[chosen.to(pool.device)]


def random_choice(candidates: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """``candidates`` ``[N]`` themselves where there are at most ``count``, else ``count`` of them, each as likely."""
    if len(candidates) <= count:
        return candidates
    return candidates[torch.randperm(len(candidates), generator=generator)[:count].to(candidates.device)]
