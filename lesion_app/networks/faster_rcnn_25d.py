"""2.5D Faster R-CNN: the universal lesion detector of the main job.

I/O (torchvision's protocol): ``model(slabs, targets)`` with ``slabs`` a list of float ``[S, H, W]`` slabs
scaled to [0, 255] (HU -1024..3071), sizes may differ; ``targets`` a list of ``{boxes [N, 4] float px,
labels [N] int64, ignore [M, 4] (optional)}``. Training returns a dict of losses, evaluation a list of
``{boxes [K, 4], scores [K], labels [K]}`` in px of the slab. An image without boxes is valid.

Sources of the numbers: ``docs/recipe.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import MultiScaleRoIAlign

from lesion_app.networks.anchors import SingleLevelAnchors
from lesion_app.networks.densenet_25d import DenseNet25D, SliceFeatures
from lesion_app.networks.roi_heads import IgnoringRoIHeads
from lesion_app.networks.rpn import IgnoringRPN
from lesion_app.networks.slab_batch import slab_batch


class FasterRCNN25D(nn.Module):
    """Faster R-CNN on the fused map of a 2.5D backbone.

    Args:
        backbone: the feature extractor.
        num_classes: foreground classes (1 = universal lesion).
        pixel_mean: subtracted from the scaled intensities (MULAN: 50).
        anchor_sizes, anchor_ratios: px of the input; height / width.
        rpn_*: first stage; ``*_train`` / ``*_test`` as torchvision's training / testing values.
        box_*: second stage; ``box_score_threshold`` is the lowest score reported, ``box_dropout`` the share of hidden
            values dropped in training (0.5 in Fast R-CNN's VGG head, 0 in MULAN).
        ignore_iobb: share of a candidate inside an ignore region from which it gives no gradient.
        initialised: False leaves the box head's 50 million weights at zero instead of drawing them (0.7 s less), for a
            network whose weights are loaded next.
    """

    def __init__(
        self,
        backbone: DenseNet25D,
        num_classes: int = 1,
        pixel_mean: float = 50.0,
        anchor_sizes: Sequence[float] = (16, 24, 32, 48, 96),
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        rpn_fg_iou: float = 0.7,
        rpn_bg_iou: float = 0.3,
        rpn_samples_per_image: int = 32,
        rpn_positive_fraction: float = 0.5,
        rpn_straddle_px: float | None = 0.0,
        rpn_pre_nms_train: int = 12000,
        rpn_pre_nms_test: int = 6000,
        rpn_post_nms_train: int = 2000,
        rpn_post_nms_test: int = 300,
        rpn_nms_iou: float = 0.7,
        rpn_min_size: float = 8.0,
        box_roi_size: int = 7,
        box_roi_sampling_ratio: int = 2,
        box_head_channels: int = 2048,
        box_dropout: float = 0.0,
        box_fg_iou: float = 0.5,
        box_bg_iou: float = 0.5,
        box_samples_per_image: int = 64,
        box_positive_fraction: float = 0.25,
        box_coder_weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
        box_smooth_l1_beta: float = 1.0,
        box_regression_weight: float = 10.0,
        box_prior: float = 0.01,
        box_score_threshold: float = 0.05,
        box_nms_iou: float = 0.5,
        box_detections_per_image: int = 50,
        ignore_iobb: float = 0.5,
        initialised: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pixel_mean = pixel_mean
        self.box_regression_weight = box_regression_weight
        width = backbone.out_channels
        anchors = SingleLevelAnchors(anchor_sizes, anchor_ratios, backbone.stride)
        self.rpn = IgnoringRPN(
            anchors,
            RPNHead(width, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=rpn_fg_iou,
            bg_iou_thresh=rpn_bg_iou,
            batch_size_per_image=rpn_samples_per_image,
            positive_fraction=rpn_positive_fraction,
            pre_nms_top_n={"training": rpn_pre_nms_train, "testing": rpn_pre_nms_test},
            post_nms_top_n={"training": rpn_post_nms_train, "testing": rpn_post_nms_test},
            nms_thresh=rpn_nms_iou,
            ignore_iobb=ignore_iobb,
            straddle_px=rpn_straddle_px,
            min_size=rpn_min_size,
        )
        predictor = FastRCNNPredictor(box_head_channels, num_classes + 1)
        nn.init.normal_(predictor.cls_score.weight, std=0.01)
        nn.init.normal_(predictor.bbox_pred.weight, std=0.001)
        nn.init.zeros_(predictor.bbox_pred.bias)
        nn.init.zeros_(predictor.cls_score.bias)
        # Every class starts at the prior's probability, so that the flood of background does not swamp step one.
        predictor.cls_score.bias.data[1:] = -math.log((1 - box_prior) / box_prior)
        self.roi_heads = IgnoringRoIHeads(
            MultiScaleRoIAlign(["0"], output_size=box_roi_size, sampling_ratio=box_roi_sampling_ratio),
            BoxHead(width * box_roi_size**2, box_head_channels, box_dropout, initialised),
            predictor,
            fg_iou_thresh=box_fg_iou,
            bg_iou_thresh=box_bg_iou,
            batch_size_per_image=box_samples_per_image,
            positive_fraction=box_positive_fraction,
            bbox_reg_weights=tuple(box_coder_weights),
            score_thresh=box_score_threshold,
            nms_thresh=box_nms_iou,
            detections_per_img=box_detections_per_image,
            ignore_iobb=ignore_iobb,
            smooth_l1_beta=box_smooth_l1_beta,
        )

    @property
    def num_slices(self) -> int:
        """Slices of a slab the network takes."""
        return 3 * self.backbone.num_images

    def forward(
        self, slabs: list[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training mode, detections in evaluation mode (see the module's docstring)."""
        if self.training:
            check_targets(slabs, targets)
        sizes = [(int(s.shape[-2]), int(s.shape[-1])) for s in slabs]
        batch = self._batch(slabs)
        features = self.backbone(batch.unflatten(1, (self.backbone.num_images, 3)))
        detections, losses = self._stages(features, batch, sizes, targets)
        return losses if self.training else detections

    def slice_features(self, images: Tensor) -> list[SliceFeatures]:
        """Encode three-slice images ``[N, 3, H, W]`` (scaled to [0, 255]), one ``SliceFeatures`` each."""
        return self.backbone.slice_features(self._batch(list(images))).split()

    def detect(self, slabs: Sequence[Sequence[SliceFeatures]], size: tuple[int, int]) -> list[dict[str, Tensor]]:
        """Detect on slabs given by their images' shared features; equals ``forward`` in evaluation mode.

        Args:
            slabs: for each slab its images' features, in order.
            size: (H, W) of the slabs before padding, px.
        """
        features = self.backbone.fuse(slabs)
        height, width = (n * self.backbone.stride for n in features.shape[-2:])
        # The stages read nothing of the image batch but its shape.
        batch = features.new_empty(1).expand(len(slabs), self.num_slices, height, width)
        return self._stages(features, batch, [size] * len(slabs), None)[0]

    def _batch(self, slabs: list[Tensor]) -> Tensor:
        return slab_batch(slabs, self.backbone.size_divisible) - self.pixel_mean

    def _stages(
        self,
        features: Tensor,
        batch: Tensor,
        sizes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        maps = {"0": features}
        if not self.training:
            targets = None
        proposals, rpn_losses = self.rpn(ImageList(batch, sizes), maps, targets)
        detections, box_losses = self.roi_heads(maps, proposals, sizes, targets)
        if box_losses:
            box_losses["loss_box_reg"] = self.box_regression_weight * box_losses["loss_box_reg"]
        return detections, {**rpn_losses, **box_losses}


class BoxHead(TwoMLPHead):
    """torchvision's two fully connected layers, with dropout behind each.

    Args:
        in_channels, representation_size: as torchvision's.
        dropout: share of values dropped in training.
        initialised: False = all weights are zero.
    """

    def __init__(
        self, in_channels: int, representation_size: int, dropout: float = 0.0, initialised: bool = True
    ) -> None:
        with nullcontext() if initialised else torch.device("meta"):
            super().__init__(in_channels, representation_size)
        if not initialised:
            # Zeros cost nothing until they are written to.
            for layer in (self.fc6, self.fc7):
                layer.weight, layer.bias = (nn.Parameter(torch.zeros(p.shape)) for p in (layer.weight, layer.bias))
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """``[R, ...]`` pooled boxes -> ``[R, representation_size]``."""
        for layer in (self.fc6, self.fc7):
            x = F.dropout(F.relu(layer(x.flatten(start_dim=1))), self.dropout, self.training)
        return x


def check_targets(slabs: list[Tensor], targets: list[dict[str, Tensor]] | None) -> None:
    """Refuse targets that would train in silence on nonsense.

    Raises:
        ValueError: no targets, another number of them than slabs, wrong shapes or dtypes, or a box
            without area.
    """
    if targets is None or len(targets) != len(slabs):
        found = "none" if targets is None else str(len(targets))
        raise ValueError(f"training needs one target a slab: {len(slabs)} slabs, {found} targets")
    for i, target in enumerate(targets):
        boxes, labels = target["boxes"], target["labels"]
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not boxes.is_floating_point():
            raise ValueError(f"boxes of target {i} must be float [N, 4], got {boxes.dtype} {tuple(boxes.shape)}")
        if labels.shape != boxes.shape[:1] or labels.dtype != torch.int64:
            raise ValueError(f"labels of target {i} must be int64 [{len(boxes)}], got {labels.dtype}")
        if boxes.numel() and not bool((boxes[:, 2:] > boxes[:, :2]).all()):
            raise ValueError(f"target {i} holds a box without area: x2 > x1 and y2 > y1 are needed")
