"""Region proposal network that knows ignore regions (torchvision's, extended)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork

from lesion_app.networks.ignore_regions import in_ignore_region


class IgnoringRPN(RegionProposalNetwork):
    """torchvision's RPN with ignore regions, a straddle rule and losses that survive an empty sample.

    Targets may carry ``ignore`` ``[M, 4]``: a background anchor in such a region (see
    :func:`in_ignore_region`) is not sampled. Anchors that labelled lesions claim stay positive.

    Args:
        ignore_iobb: share of an anchor inside a region from which it is ignored.
        straddle_px: anchors that stick out of the image by more than this are not sampled, None = all are
            (Faster R-CNN, section 3.3: cross-boundary anchors are left out; MULAN: 0).
        min_size: proposals with a shorter side, in px, are dropped (MULAN: 8).
        **rest: torchvision's ``RegionProposalNetwork`` arguments.
    """

    def __init__(
        self,
        *args: Any,
        ignore_iobb: float,
        straddle_px: float | None,
        min_size: float,
        bg_iou_thresh: float,
        **rest: Any,
    ) -> None:
        super().__init__(*args, bg_iou_thresh=bg_iou_thresh, **rest)
        self.ignore_iobb = ignore_iobb
        self.straddle_px = straddle_px
        self.min_size = min_size
        self.bg_iou_thresh = bg_iou_thresh

    def forward(
        self, images: ImageList, features: dict[str, Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposals ``[N, 4]`` an image, and in training the losses (torchvision's names)."""
        if targets is not None:
            targets = [{**t, "_size": torch.tensor(s)} for t, s in zip(targets, images.image_sizes)]
        return super().forward(images, features, targets)

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Labels 1 / 0 / -1 (not sampled) and matched boxes for each image's anchors."""
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        for label, anchor, target in zip(labels, anchors, targets):
            if "ignore" in target:
                ignored = in_ignore_region(anchor, target["ignore"], self.ignore_iobb, self.bg_iou_thresh)
                label[ignored & (label == 0)] = -1.0
            if self.straddle_px is not None:
                height, width = (float(v) for v in target["_size"])
                s = self.straddle_px
                outside = (anchor[:, :2] < -s).any(1) | (anchor[:, 2] > width + s) | (anchor[:, 3] > height + s)
                label[outside] = -1.0
        return labels, matched

    def compute_loss(
        self, objectness: Tensor, pred_bbox_deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy over the sampled anchors, smooth L1 (beta 1/9) over the positive ones."""
        positive, negative = (torch.cat(s) for s in self.fg_bg_sampler(labels))
        sampled = torch.where(positive | negative)[0]
        positive = torch.where(positive)[0]
        count = max(sampled.numel(), 1)
        wanted, deltas = torch.cat(labels), torch.cat(regression_targets)
        box_loss = F.smooth_l1_loss(pred_bbox_deltas[positive], deltas[positive], beta=1 / 9, reduction="sum") / count
        object_loss = F.binary_cross_entropy_with_logits(
            objectness.flatten()[sampled], wanted[sampled], reduction="sum"
        )
        return object_loss / count, box_loss
