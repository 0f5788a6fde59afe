"""Region proposal network that knows ignore regions (torchvision's, extended)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import clip_boxes_to_image, remove_small_boxes

from lesion_app.boxes.leading_nms import leading_nms
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
        (feature_map,) = features.values()
        anchors = self.anchor_generator(images, [feature_map])
        scores, deltas = self._score(feature_map)
        proposals = self._choose(scores.detach(), deltas.detach(), anchors[0], images.image_sizes)
        if not self.training:
            return proposals, {}
        if targets is None:
            raise ValueError("training needs targets")
        targets = [{**t, "_size": torch.tensor(s)} for t, s in zip(targets, images.image_sizes)]
        labels, matched = self.assign_targets_to_anchors(anchors, targets)
        wanted = self.box_coder.encode(matched, anchors)
        objectness, box_loss = self.compute_loss(scores, deltas.flatten(0, 1), labels, wanted)
        return proposals, {"loss_objectness": objectness, "loss_rpn_box_reg": box_loss}

    def propose(self, feature_map: Tensor, sizes: list[tuple[int, int]]) -> list[Tensor]:
        """Proposals ``[N, 4]`` px for each image of a map ``[B, C, H, W]``; ``sizes`` (H, W) px before padding."""
        anchors = self.anchor_generator.on_map(*feature_map.shape[-2:], feature_map.device)  # type: ignore[operator]
        return self._choose(*self._score(feature_map), anchors, sizes)

    def _score(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[B, cells * A]`` and deltas ``[B, cells * A, 4]`` in the anchors' order, float32 or wider."""
        (logits,), (deltas,) = self.head([feature_map])
        logits = logits.permute(0, 2, 3, 1).flatten(1)
        deltas = deltas.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)
        if logits.dtype in (torch.bfloat16, torch.float16):
            logits, deltas = logits.float(), deltas.float()
        return logits, deltas

    def _choose(self, logits: Tensor, deltas: Tensor, anchors: Tensor, sizes: list[tuple[int, int]]) -> list[Tensor]:
        """torchvision's choice of proposals, but only boxes that can be chosen are decoded."""
        count = min(self.pre_nms_top_n(), logits.shape[1])
        top = logits.topk(count, dim=1).indices
        found = []
        for index, logit, delta, (height, width) in zip(top, logits, deltas, sizes):
            boxes = self.box_coder.decode_single(delta[index], anchors[index])
            boxes = clip_boxes_to_image(boxes, (height, width))
            keep = remove_small_boxes(boxes, self.min_size)
            boxes, scores = boxes[keep], logit[index][keep]
            found.append(boxes[leading_nms(boxes, scores, self.nms_thresh, self.post_nms_top_n())])
        return found

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
