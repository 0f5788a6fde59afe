"""Second stage of Faster R-CNN that knows ignore regions (torchvision's, extended)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads

from lesion_app.networks.ignore_regions import in_ignore_region
from lesion_app.networks.roi_align_rows import roi_align_rows


class IgnoringRoIHeads(RoIHeads):
    """torchvision's box head with ignore regions and a named smooth-L1 beta; boxes only, no masks.

    Targets may carry ``ignore`` ``[M, 4]``: background proposals in such a region are not sampled; ``negatives``
    ``[K, 4]``: boxes known to hold no lesion, trained on as background each time.

    Args:
        ignore_iobb: share of a proposal inside a region from which it is ignored.
        smooth_l1_beta: knee of the box loss (MULAN: 1).
        **rest: torchvision's ``RoIHeads`` arguments.
    """

    def __init__(
        self, *args: Any, ignore_iobb: float, smooth_l1_beta: float, bg_iou_thresh: float, **rest: Any
    ) -> None:
        super().__init__(*args, bg_iou_thresh=bg_iou_thresh, **rest)
        self.ignore_iobb = ignore_iobb
        self.smooth_l1_beta = smooth_l1_beta
        self.bg_iou_thresh = bg_iou_thresh

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Losses in training, ``{boxes, scores, labels}`` an image in evaluation."""
        if self.training:
            if targets is None:
                raise ValueError("training needs targets")
            proposals, labels, wanted = self._sample(proposals, targets)
            logits, deltas = self._predict(features, proposals, image_shapes)
            return [], self._losses(logits, deltas, labels, wanted)
        logits, deltas = self._predict(features, proposals, image_shapes)
        results = zip(*self.postprocess_detections(logits, deltas, proposals, image_shapes))
        return [{"boxes": b, "scores": s, "labels": c} for b, s, c in results], {}

    def _predict(
        self, features: dict[str, Tensor], proposals: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        return self.box_predictor(self.box_head(self._pool(features, proposals, image_shapes)))

    def _pool(
        self, features: dict[str, Tensor], proposals: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        pool = self.box_roi_pool
        if len(features) > 1 or next(iter(features.values())).device.type != "cpu":
            return pool(features, proposals, image_shapes)
        # torchvision's CPU kernels go value by value; several times slower, looking and learning.
        (feature_map,) = features.values()
        height, _ = feature_map.shape[-2:]
        scale = 2.0 ** round(math.log2(height / max(h for h, _ in image_shapes)))
        rows = roi_align_rows(feature_map, proposals, pool.output_size[0], scale, pool.sampling_ratio)
        return rows.transpose(1, 2).unflatten(2, tuple(pool.output_size))

    def _sample(self, proposals: list[Tensor], targets: list[dict[str, Tensor]]) -> tuple[list[Tensor], Tensor, Tensor]:
        dtype = proposals[0].dtype
        boxes = [t["boxes"].to(dtype) for t in targets]
        negatives = [t["negatives"].to(dtype) if "negatives" in t else t["boxes"].new_zeros((0, 4)) for t in targets]
        proposals = [torch.cat(parts) for parts in zip(self.add_gt_proposals(proposals, boxes), negatives)]
        matched, labels = self.assign_targets_to_proposals(proposals, boxes, [t["labels"] for t in targets])
        for label, proposal, target in zip(labels, proposals, targets):
            if "ignore" in target:
                ignored = in_ignore_region(proposal, target["ignore"].to(dtype), self.ignore_iobb, self.bg_iou_thresh)
                label[ignored & (label == 0)] = -1
        sampled = []
        for chosen, label, known in zip(self.subsample(labels), labels, negatives):
            always = torch.arange(len(label) - len(known), len(label), device=label.device)
            sampled.append(torch.cat((chosen, always[label[always] == 0])).unique())
        proposals = [p[s] for p, s in zip(proposals, sampled)]
        truth = [b[m[s]] if b.numel() else b.new_zeros((s.numel(), 4)) for b, m, s in zip(boxes, matched, sampled)]
        # A background proposal's regression target is never used; encoding its own box keeps it finite.
        kept = [label[s] for label, s in zip(labels, sampled)]
        truth = [torch.where((c > 0)[:, None], b, p) for c, b, p in zip(kept, truth, proposals)]
        return proposals, torch.cat(kept), torch.cat(list(self.box_coder.encode(truth, proposals)))

    def _losses(self, logits: Tensor, deltas: Tensor, labels: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        count = max(labels.numel(), 1)
        positive = torch.where(labels > 0)[0]
        deltas = deltas.unflatten(1, (-1, 4))
        box_loss = F.smooth_l1_loss(
            deltas[positive, labels[positive]], wanted[positive], beta=self.smooth_l1_beta, reduction="sum"
        )
        class_loss = F.cross_entropy(logits, labels, reduction="sum")
        return {"loss_classifier": class_loss / count, "loss_box_reg": box_loss / count}
