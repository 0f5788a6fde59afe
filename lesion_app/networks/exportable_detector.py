"""The 2.5D Faster R-CNN with fixed shapes throughout, so that it can be exported: slab in, padded boxes out."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image, nms, roi_align

from lesion_app.networks.faster_rcnn_25d import FasterRCNN25D

_NOWHERE = -1e4


class ExportableDetector(nn.Module):
    """Evaluation of :class:`FasterRCNN25D` on one slab of one size.

    Where the detector drops boxes, this one keeps their places: proposals and detections are padded to their largest
    number, since runtimes want shapes that do not depend on values. What is found is the same.

    Args:
        network: copied; in evaluation mode and float32 from here on.
        size: (H, W) px of the slabs, divisible by the backbone's ``size_divisible``.

    Raises:
        ValueError: for another size.
    """

    anchors: Tensor

    def __init__(self, network: FasterRCNN25D, size: tuple[int, int]) -> None:
        super().__init__()
        divisor = network.backbone.size_divisible
        if min(size) < divisor or size[0] % divisor or size[1] % divisor:
            raise ValueError(f"height and width must be multiples of {divisor}, got {size[0]} x {size[1]}")
        self.network = copy.deepcopy(network).eval().float().requires_grad_(False)
        self.size = size
        stride = network.backbone.stride
        anchors = network.rpn.anchor_generator.on_map(size[0] // stride, size[1] // stride, torch.device("cpu"))  # type: ignore[operator]
        self.register_buffer("anchors", anchors.clone(), persistent=False)

    def forward(self, slab: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detections of ``slab`` ``[S, H, W]`` scaled to [0, 255].

        Returns:
            boxes ``[D, 4]`` px, scores ``[D]`` falling, labels ``[D]`` int64, D = ``box_detections_per_image``. Rows
            with score 0 are padding.
        """
        network = self.network
        images = (slab - network.pixel_mean).unflatten(0, (network.backbone.num_images, 3))
        features = network.backbone(images[None])
        proposals, there = self._propose(features)
        heads = network.roi_heads
        pool = heads.box_roi_pool
        rois = torch.cat((proposals.new_zeros((len(proposals), 1)), proposals), dim=1)
        scale = 1.0 / network.backbone.stride
        pooled = roi_align(features, rois, pool.output_size, scale, pool.sampling_ratio)
        logits, deltas = heads.box_predictor(heads.box_head(pooled))
        return self._detect(logits, deltas, proposals, there)

    def _propose(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Proposals ``[P, 4]`` by falling score and which of them there are ``[P]`` bool."""
        rpn = self.network.rpn
        logits, deltas = rpn._score(features)
        top = min(rpn.pre_nms_top_n(), logits.shape[1])
        scores, index = logits[0].topk(top)
        boxes = rpn.box_coder.decode_single(deltas[0][index], self.anchors[index])
        boxes = clip_boxes_to_image(boxes, self.size)
        side = boxes[:, 2:] - boxes[:, :2]
        scores = torch.where((side >= rpn.min_size).all(dim=1), scores, _NOWHERE)
        chosen = padded(nms(boxes, scores, rpn.nms_thresh), rpn.post_nms_top_n(), top)
        there = (chosen < top) & (scores[chosen.clamp(max=top - 1)] > _NOWHERE)
        return boxes[chosen.clamp(max=top - 1)], there

    def _detect(
        self, logits: Tensor, deltas: Tensor, proposals: Tensor, there: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        heads = self.network.roi_heads
        classes = logits.shape[1] - 1
        every = heads.box_coder.decode(deltas, [proposals])[:, 1:]
        boxes = clip_boxes_to_image(every, self.size).flatten(0, 1)
        scores = logits.softmax(dim=1)[:, 1:].flatten()
        labels = torch.arange(1, classes + 1).repeat(len(proposals))
        side = boxes[:, 2:] - boxes[:, :2]
        good = there.repeat_interleave(classes) & (scores > heads.score_thresh) & (side >= 1e-2).all(dim=1)
        scores = torch.where(good, scores, 0.0)
        # Classes far apart do not suppress each other.
        apart = boxes + (labels * (2 * max(self.size)))[:, None].to(boxes)
        chosen = padded(nms(apart, scores, heads.nms_thresh), heads.detections_per_img, len(boxes))
        kept = chosen.clamp(max=len(boxes) - 1)
        return boxes[kept], torch.where(chosen < len(boxes), scores[kept], 0.0), labels[kept]


def padded(index: Tensor, count: int, filler: int) -> Tensor:
    """The first ``count`` entries of ``index``, filled up with ``filler``: ``[count]`` whatever the length was."""
    return torch.cat((index, index.new_full((count,), filler)))[:count]
