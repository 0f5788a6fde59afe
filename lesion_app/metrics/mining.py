"""Are the mined boxes lesions, and how many of the hidden lesions do they cover?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lesion_app.boxes.overlap import box_iou


@dataclass(frozen=True)
class MiningCounts:
    """Sums over images that add up: ``counts_of_batch_1 + counts_of_batch_2``.

    Args:
        mined: boxes mined.
        right: those of them that lie on a hidden lesion.
        hidden: true lesions without an annotation.
        found: those of them that a mined box lies on.
    """

    mined: int = 0
    right: int = 0
    hidden: int = 0
    found: int = 0

    def __add__(self, other: MiningCounts) -> MiningCounts:
        return MiningCounts(
            self.mined + other.mined, self.right + other.right, self.hidden + other.hidden, self.found + other.found
        )

    @property
    def precision(self) -> float:
        """Share of the mined boxes that lie on a hidden lesion; 0 when nothing was mined."""
        return self.right / self.mined if self.mined else 0.0

    @property
    def recall(self) -> float:
        """Share of the hidden lesions that were found; 0 when nothing is hidden."""
        return self.found / self.hidden if self.hidden else 0.0

    def as_figures(self) -> dict[str, float]:
        """For loggers: ``mined_right``, ``hidden_lesions``, ``hidden_found``, ``mined_precision``, ``mined_recall``.

        The two ratios are absent where they would be 0 / 0, so that a logger's mean is over those that mean something.
        """
        figures = {
            "mined_right": float(self.right),
            "hidden_lesions": float(self.hidden),
            "hidden_found": float(self.found),
        }
        if self.mined:
            figures["mined_precision"] = self.precision
        if self.hidden:
            figures["mined_recall"] = self.recall
        return figures


def mined_precision_recall(
    mined: Sequence[Tensor], truth: Sequence[Tensor], labelled: Sequence[Tensor], iou_threshold: float = 0.5
) -> MiningCounts:
    """Count how well mined boxes stand for lesions that nobody annotated.

    Hidden is the truth that remains when each labelled box has taken away the lesion it overlaps most (if by
    ``iou_threshold`` or more). A mined box is right when its IoU with some hidden lesion is >= ``iou_threshold``; two
    boxes on one lesion are both right, since both show the student a lesion. A mined box on a labelled lesion is not:
    nothing was mined there.

    Args:
        mined: one ``[N, 4]`` an image, px half-open, as handed to the student.
        truth: one ``[M, 4]`` an image in the same view, every lesion.
        labelled: one ``[L, 4]`` an image in the same view, the annotated lesions.
        iou_threshold: smallest IoU that counts as lying on a lesion.

    Raises:
        ValueError: when the three do not have one entry an image.
    """
    if not len(mined) == len(truth) == len(labelled):
        raise ValueError(f"expected one entry an image, got {len(mined)}, {len(truth)} and {len(labelled)}")
    counts = MiningCounts()
    for mined_boxes, true_boxes, labelled_boxes in zip(mined, truth, labelled):
        hidden = hidden_truth(true_boxes, labelled_boxes, iou_threshold)
        on_lesion = on_hidden(mined_boxes, hidden, iou_threshold)
        right, found = int(on_lesion.any(dim=1).sum()), int(on_lesion.any(dim=0).sum())
        counts += MiningCounts(len(mined_boxes), right, len(hidden), found)
    return counts


def on_hidden(mined: Tensor, hidden: Tensor, iou_threshold: float = 0.5) -> Tensor:
    """Tell of every mined box ``[N, 4]`` on which hidden lesions ``[H, 4]`` of the image it lies: bool ``[N, H]``."""
    return box_iou(mined.to(hidden), hidden) >= iou_threshold


def hidden_truth(truth: Tensor, labelled: Tensor, iou_threshold: float = 0.5) -> Tensor:
    """The true boxes ``[H, 4]`` of one image without an annotation; arguments as in :func:`mined_precision_recall`."""
    known = torch.zeros(len(truth), dtype=torch.bool, device=truth.device)
    if len(truth) and len(labelled):
        iou, lesion = box_iou(labelled.to(truth), truth).max(dim=1)
        known[lesion[iou >= iou_threshold]] = True
    return truth[~known]
