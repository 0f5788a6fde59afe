"""Which of a proposal network's many boxes go on to the second stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image, remove_small_boxes

from lesion_app.boxes.leading_nms import leading_nms

Sizes = Sequence[tuple[int, int]]
Targets = Sequence[dict[str, Tensor]]
Proposed = tuple[list[Tensor], list[Tensor], dict[str, Tensor]]


class ProposalNetwork(Protocol):
    """What the first stage of a detector looks like, whichever it is.

    Called with a map ``[B, C, h, w]``, the images' (H, W) px before padding and, to learn, their targets ``{boxes
    [N, 4], ignore [M, 4] (optional)}``. Returns for each image its proposals ``[K, 4]`` px without gradient and their
    scores ``[K]`` in 0..1, falling, and a dict of weighted losses, empty without targets.
    """

    def __call__(self, features: Tensor, sizes: Sizes, targets: Targets | None = None) -> Proposed: ...


class ProposalChoice:
    """Best boxes, clipped to the image, without tiny ones, after non-maximum suppression.

    Args:
        pre_nms_train, pre_nms_test: boxes looked at, by score.
        post_nms_train, post_nms_test: boxes kept.
        nms_iou: boxes that overlap a better one by more are dropped; None = none are.
        min_size: boxes with a shorter side are dropped, px.
    """

    def __init__(
        self,
        pre_nms_train: int,
        pre_nms_test: int,
        post_nms_train: int,
        post_nms_test: int,
        nms_iou: float | None,
        min_size: float,
    ) -> None:
        self.pre_nms = {True: pre_nms_train, False: pre_nms_test}
        self.post_nms = {True: post_nms_train, False: post_nms_test}
        self.nms_iou = nms_iou
        self.min_size = min_size

    def looked_at(self, training: bool, available: int) -> int:
        """How many of the boxes there are take part."""
        return min(self.pre_nms[training], available)

    @torch.no_grad()
    def __call__(
        self, boxes: Tensor, scores: Tensor, sizes: Sizes, training: bool
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Choose for each image.

        Args:
            boxes: ``[B, K, 4]`` px.
            scores: ``[B, K]``, 0..1.
            sizes: (H, W) px of the images.
            training: which of the numbers apply.
        """
        scores, top = scores.topk(self.looked_at(training, scores.shape[1]), dim=1)
        boxes = boxes.gather(1, top[..., None].expand(-1, -1, 4))
        found, certainty = [], []
        for box, score, size in zip(boxes, scores, sizes):
            box = clip_boxes_to_image(box, size)
            keep = remove_small_boxes(box, self.min_size)
            box, score = box[keep], score[keep]
            if self.nms_iou is None:
                kept = torch.arange(min(len(box), self.post_nms[training]), device=box.device)
            else:
                kept = leading_nms(box, score, self.nms_iou, self.post_nms[training])
            found.append(box[kept])
            certainty.append(score[kept])
        return found, certainty


def pool_proposals(
    boxes: Sequence[Tensor], scores: Sequence[Tensor], nms_iou: float, count: int
) -> tuple[Tensor, Tensor]:
    """Proposals of several networks for one image as one list: NMS over all, by falling score.

    Args:
        boxes, scores: ``[K, 4]`` px and ``[K]`` of each network.
        nms_iou: as in :class:`ProposalChoice`.
        count: most proposals kept.
    """
    score, order = torch.cat(list(scores)).sort(descending=True, stable=True)
    box = torch.cat(list(boxes))[order]
    kept = leading_nms(box, score, nms_iou, count)
    return box[kept], score[kept]
