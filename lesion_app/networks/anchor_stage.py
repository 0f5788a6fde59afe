"""From the levels of a pyramid to scored boxes: those of a one-stage detector, or proposals for a second stage."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lesion_app.boxes.nms_3d import class_wise_nms
from lesion_app.networks.anchors_nd import PyramidAnchors
from lesion_app.networks.box_coding_nd import decode_boxes, encode_boxes
from lesion_app.networks.dense_head import DenseHead
from lesion_app.networks.matching_nd import match_candidates
from lesion_app.networks.pyramid import DETECTION_LEVELS, image_limits
from lesion_app.networks.stochastic_hard_mining import random_choice, stochastic_hard_mining


class AnchorStage(nn.Module):
    """Anchors, their head, their losses and the choice of boxes.

    Rules of Jaeger et al.'s published program: at most half of ``anchors_per_image`` are positive, as many background
    anchors come from stochastic hard example mining (one at least); the class loss of an image is (mean cross entropy
    of the positive ones + that of the background ones) / 2, the box loss the mean smooth L1 of the positive ones.

    Args:
        anchors: of the levels P2 to P5.
        head: over the same anchors.
        fg_iou, bg_iou: see ``match_candidates``.
        anchors_per_image: see above.
        pool_factor: see ``stochastic_hard_mining``.
        box_std: see ``encode_boxes``.
        pre_nms: best candidates of an image that are decoded.
        nms_iou: boxes of a class that overlap a better one by more are dropped.
        max_boxes: of an image.
        min_score: lowest softmax probability of a box, > 0.
        ignore_iobb: see ``match_candidates``.

    Raises:
        ValueError: a number out of its range.
    """

    def __init__(
        self,
        anchors: PyramidAnchors,
        head: DenseHead,
        fg_iou: float,
        bg_iou: float,
        anchors_per_image: int,
        pool_factor: int,
        box_std: Sequence[float],
        pre_nms: int,
        nms_iou: float,
        max_boxes: int,
        min_score: float,
        ignore_iobb: float,
    ) -> None:
        super().__init__()
        if not 0 < bg_iou <= fg_iou <= 1:
            raise ValueError(f"expected 0 < bg_iou <= fg_iou <= 1, got {bg_iou} and {fg_iou}")
        if anchors_per_image < 2 or pre_nms < 1 or max_boxes < 1:
            raise ValueError(
                "expected at least two anchors_per_image, one pre_nms and one of max_boxes, got "
                f"{anchors_per_image}, {pre_nms} and {max_boxes}"
            )
        self.anchors = anchors
        self.head = head
        self.fg_iou = fg_iou
        self.bg_iou = bg_iou
        self.anchors_per_image = anchors_per_image
        self.pool_factor = pool_factor
        self.box_std = tuple(box_std)
        self.pre_nms = pre_nms
        self.nms_iou = nms_iou
        self.max_boxes = max_boxes
        self.min_score = min_score
        self.ignore_iobb = ignore_iobb

    def forward(self, maps: dict[int, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits ``[B, A, classes]``, offsets ``[B, A, 2 * dim]`` and the anchors ``[A, 2 * dim]``."""
        levels = [maps[level] for level in DETECTION_LEVELS]
        return (*self.head(levels), self.anchors(levels))

    def losses(
        self,
        logits: Tensor,
        offsets: Tensor,
        anchors: Tensor,
        targets: Sequence[dict[str, Tensor]],
        sizes: Sequence[tuple[int, ...]],
    ) -> tuple[Tensor, Tensor]:
        """Class and box loss, means over the images.

        Args:
            logits, offsets, anchors: of ``forward``.
            targets: see ``check_targets_nd``.
            sizes: ((D,) H, W) of the images before padding.
        """
        class_losses, box_losses = [], []
        for logit, offset, target, size in zip(logits, offsets, targets, sizes):
            labels, rows = match_candidates(anchors, target, self.fg_iou, self.bg_iou, self.ignore_iobb, size=size)
            positive = random_choice((labels > 0).nonzero()[:, 0], self.anchors_per_image // 2)
            background = (labels == 0).nonzero()[:, 0]
            scores = logit.detach()[background].softmax(dim=1)[:, 1:].amax(dim=1)
            negative = background[stochastic_hard_mining(scores, max(1, len(positive)), self.pool_factor)]
            found = F.cross_entropy(logit[positive], labels[positive], reduction="none")
            missed = F.cross_entropy(logit[negative], labels[negative], reduction="none")
            class_losses.append((_mean(found) + _mean(missed)) / 2)
            wanted = encode_boxes(target["boxes"].to(anchors)[rows[positive]], anchors[positive], self.box_std)
            moved = F.smooth_l1_loss(offset[positive], wanted, reduction="none").mean(dim=1)
            box_losses.append(_mean(moved))
        return torch.stack(class_losses).mean(), torch.stack(box_losses).mean()

    def boxes(
        self,
        logits: Tensor,
        offsets: Tensor,
        anchors: Tensor,
        sizes: Sequence[tuple[int, ...]],
        max_boxes: int | None = None,
    ) -> list[dict[str, Tensor]]:
        """``{boxes, scores, labels}`` of every image, by falling score; boxes lie within it. No gradient.

        Args:
            sizes: ((D,) H, W) of the images before padding.
            max_boxes: in place of the stage's own.
        """
        found = []
        for logit, offset, size in zip(logits.detach(), offsets.detach(), sizes):
            scores = logit.softmax(dim=1)[:, 1:]
            flat = scores.flatten()
            places = (flat >= self.min_score).nonzero()[:, 0]
            # A stable sort, so that equal scores rank alike on every run.
            order = flat[places].sort(descending=True, stable=True).indices[: self.pre_nms]
            places = places[order]
            rows, labels = places // scores.shape[1], places % scores.shape[1] + 1
            boxes = decode_boxes(offset[rows], anchors[rows], self.box_std)
            found.append(chosen_boxes(boxes, flat[places], labels, size, self.nms_iou, max_boxes or self.max_boxes))
        return found


def chosen_boxes(
    boxes: Tensor, scores: Tensor, labels: Tensor, size: tuple[int, ...], nms_iou: float, max_boxes: int
) -> dict[str, Tensor]:
    """Clip to the image of ``size`` ((D,) H, W), drop what lies outside, suppress within each class."""
    limits = image_limits(size, boxes)
    low, high = boxes.clamp(min=0).minimum(limits.repeat(2)).chunk(2, dim=1)
    inside = (high > low).all(dim=1)
    boxes, scores, labels = torch.cat([low, high], dim=1)[inside], scores[inside], labels[inside]
    kept = class_wise_nms(boxes, scores, labels, nms_iou, max_boxes)
    return {"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept]}


def _mean(values: Tensor) -> Tensor:
    """The mean, and 0 (still part of the graph) of nothing."""
    return values.sum() / max(len(values), 1)
