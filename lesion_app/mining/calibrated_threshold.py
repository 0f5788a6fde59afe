"""A threshold for the teacher's score that follows how right the teacher is, size by size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class CalibratedThreshold:
    """Score threshold that keeps a wanted share of the teacher's boxes right, as measured on fully annotated slices.

    Missing labels press all scores down, those of small lesions most as they are labelled least, and mining lifts them
    again: one fixed tau mines almost nothing early, rubbish late, and large lesions only. A few fully annotated slices
    (DeepLesion has 844 such training sub-volumes, Cai et al., IEEE TMI 2021) tell at every moment from which score on
    boxes of a size can be trusted. Ours; the peers' adaptive thresholds (FlexMatch, Zhang et al., NeurIPS 2021;
    Consistent-Teacher, Wang et al., CVPR 2023) follow scores alone and cannot see precision.

    Args:
        precision: wanted share of right boxes among those of a size at or above its threshold.
        start: threshold before the first calibration.
        lowest: no threshold falls below it.
        fall: most by which one calibration lowers a threshold; it is raised at once. Scores rise as soon as lower ones
            are mined, so that a threshold that was right when it was set is too low a hundred iterations later.
        edges_px: ascending longer sides that part the sizes, px of the teacher's view; empty = one threshold for all.
        support: right boxes a threshold must rest on; a size with fewer is not mined.

    Raises:
        ValueError: for values outside [0, 1] or edges that do not ascend.
    """

    def __init__(
        self,
        precision: float = 0.9,
        start: float = 0.9,
        lowest: float = 0.3,
        fall: float = 0.02,
        edges_px: Sequence[float] = (),
        support: int = 5,
    ) -> None:
        for name, value in {"precision": precision, "start": start, "lowest": lowest, "fall": fall}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {value}")
        if list(edges_px) != sorted(set(edges_px)):
            raise ValueError(f"edges_px must ascend, got {list(edges_px)}")
        self.precision = precision
        self.lowest = lowest
        self.fall = fall
        self.support = support
        self.edges_px = torch.tensor(list(edges_px), dtype=torch.float32)
        self.values = torch.full((len(edges_px) + 1,), float(start))

    def __call__(self, boxes: Tensor) -> Tensor:
        """The thresholds in force, ``[N]`` for boxes ``[N, 4]``; a side equal to an edge belongs to the larger size."""
        return self.values.to(boxes)[self.size_of(boxes)]

    def size_of(self, boxes: Tensor) -> Tensor:
        """Which size each box has, ``[N]`` int64, 0 = the smallest."""
        side = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1)
        return torch.bucketize(side, self.edges_px.to(boxes), right=True)

    def calibrate(self, boxes: Tensor, scores: Tensor, right: Tensor) -> Tensor:
        """Set the thresholds from boxes ``[N, 4]`` found on fully annotated slices; see :func:`threshold_at_precision`.

        Returns:
            one threshold a size.
        """
        size = self.size_of(boxes)
        for index, before in enumerate(self.values.tolist()):
            here = size == index
            wanted = threshold_at_precision(scores[here], right[here], self.precision, self.lowest, self.support)
            self.values[index] = max(wanted, before - self.fall)
        return self.values

    def figures(self) -> dict[str, float]:
        """For loggers: ``score_threshold_0`` for the smallest size, and so on."""
        return {f"score_threshold_{index}": value for index, value in enumerate(self.values.tolist())}

    def state_dict(self) -> dict[str, Any]:
        """For the training state."""
        return {"values": self.values.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up saved thresholds.

        Raises:
            ValueError: when they were kept for another number of sizes.
        """
        if len(state["values"]) != len(self.values):
            raise ValueError(f"the saved thresholds are for {len(state['values'])} sizes, these for {len(self.values)}")
        self.values = state["values"].clone()


def threshold_at_precision(
    scores: Tensor, right: Tensor, precision: float, lowest: float = 0.0, support: int = 1
) -> float:
    """The lowest score >= ``lowest`` at which boxes scored so or higher are right in at least ``precision`` of the
    cases.

    Args:
        scores: ``[N]`` in [0, 1].
        right: ``[N]`` bool, the box lies on a lesion.
        support: right boxes that must lie at or above the threshold.

    Returns:
        the threshold; 1.0 where no score will do, so that as good as nothing is mined.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    ranked, hits = scores[order], right[order].double().cumsum(0)
    share = hits / torch.arange(1, len(ranked) + 1, dtype=torch.float64)
    # Boxes of one score are in or out together, so only the last of each counts.
    last = torch.ones(len(ranked), dtype=torch.bool)
    last[:-1] = ranked[1:] < ranked[:-1]
    good = ranked[last & (share >= precision) & (hits >= support) & (ranked >= lowest)]
    return float(good[-1]) if len(good) else 1.0
