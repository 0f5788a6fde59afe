"""A threshold for the teacher's score that depends on the box's size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class SizeThresholds:
    """Score threshold by the longer side of a box.

    Small lesions are labelled less often, so a detector trained on incomplete labels scores them lower and one
    threshold mines large ones only. One threshold a group is FlexMatch's answer to classes learnt at different speeds
    (Zhang et al., NeurIPS 2021), here with sizes for classes and fixed values.

    Args:
        edges_px: ascending sides that part the sizes, px of the teacher's view.
        scores: one threshold a size, one more than edges, the smallest boxes first.

    Raises:
        ValueError: when counts do not match or the edges do not ascend.
    """

    def __init__(self, edges_px: Sequence[float], scores: Sequence[float]) -> None:
        if len(scores) != len(edges_px) + 1 or list(edges_px) != sorted(set(edges_px)):
            raise ValueError(
                f"n ascending edges need n + 1 scores, got edges {list(edges_px)} and scores {list(scores)}"
            )
        if not all(0 <= score <= 1 for score in scores):
            raise ValueError(f"scores must lie in [0, 1], got {list(scores)}")
        self.edges_px = torch.tensor(edges_px, dtype=torch.float32)
        self.scores = torch.tensor(scores, dtype=torch.float32)

    def __call__(self, boxes: Tensor) -> Tensor:
        """Thresholds ``[N]`` of boxes ``[N, 4]``; a side equal to an edge belongs to the larger size."""
        side = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1)
        return self.scores.to(boxes)[torch.bucketize(side, self.edges_px.to(boxes), right=True)]
