"""What Faster R-CNN+, Mask R-CNN and the two-stage Retina U-Net share: a pyramid, proposals and a second stage."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lesion_app.networks.anchor_stage import AnchorStage
from lesion_app.networks.anchors_nd import PyramidAnchors
from lesion_app.networks.dense_head import DenseHead
from lesion_app.networks.mask_head_nd import MaskHeadND
from lesion_app.networks.pyramid import PyramidBackbone
from lesion_app.networks.pyramid_detector import PyramidDetector
from lesion_app.networks.roi_stage_nd import RoIStageND


class TwoStageND(PyramidDetector):
    """Two-stage detector for images and volumes: boxes from proposals and RoIAligned features.

    Sources of the numbers: ``docs/retina_unet.md``.

    Args:
        backbone, num_classes: see ``PyramidDetector``, and there for the I/O.
        anchor_*: see ``PyramidAnchors``.
        rpn_channels: of the shared convolution of the proposal network.
        rpn_fg_iou, rpn_bg_iou, rpn_anchors_per_image, shem_pool_factor, box_std, rpn_pre_nms, rpn_nms_iou, ignore_iobb:
            see ``AnchorStage``.
        rpn_post_nms_train, rpn_post_nms_test: proposals of an image.
        roi_size, roi_sampling_ratio, head_channels, roi_fg_iou, roi_bg_iou, rois_per_image, roi_positive_fraction,
            roi_add_ground_truth: see ``RoIStageND``; ``roi_size`` None = (7, 7) or (3, 7, 7).
        detection_score, detection_nms_iou, detections_per_image: lowest score, suppression and number of the boxes
            reported.
        mask_head, mask_roi_size: see ``RoIStageND``.
    """

    def __init__(
        self,
        backbone: PyramidBackbone,
        num_classes: int = 1,
        anchor_sizes: Sequence[float] = (4, 8, 16, 32),
        anchor_sizes_z: Sequence[float] = (1, 2, 4, 8),
        anchor_scales: Sequence[float] = (1.0,),
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        rpn_channels: int = 512,
        rpn_fg_iou: float = 0.7,
        rpn_bg_iou: float = 0.1,
        rpn_anchors_per_image: int = 6,
        rpn_pre_nms: int = 3000,
        rpn_nms_iou: float = 0.7,
        rpn_post_nms_train: int = 500,
        rpn_post_nms_test: int = 500,
        shem_pool_factor: int = 10,
        box_std: Sequence[float] = (0.1, 0.2),
        roi_size: Sequence[int] | None = None,
        roi_sampling_ratio: int = 2,
        head_channels: int = 1024,
        roi_fg_iou: float = 0.5,
        roi_bg_iou: float = 0.1,
        rois_per_image: int = 6,
        roi_positive_fraction: float = 0.5,
        roi_add_ground_truth: bool = False,
        detection_score: float = 0.1,
        detection_nms_iou: float = 1e-5,
        detections_per_image: int = 10,
        ignore_iobb: float = 0.5,
        mask_head: MaskHeadND | None = None,
        mask_roi_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__(backbone, num_classes)
        self.rpn_post_nms_train = rpn_post_nms_train
        self.rpn_post_nms_test = rpn_post_nms_test
        dim, width = backbone.dim, backbone.out_channels
        anchors = PyramidAnchors(dim, anchor_sizes, anchor_sizes_z, anchor_scales, anchor_ratios)
        self.proposals = AnchorStage(
            anchors,
            DenseHead(dim, width, anchors.per_cell, 2, rpn_channels, layers=1, one_tower=True),
            fg_iou=rpn_fg_iou,
            bg_iou=rpn_bg_iou,
            anchors_per_image=rpn_anchors_per_image,
            pool_factor=shem_pool_factor,
            box_std=box_std,
            pre_nms=rpn_pre_nms,
            nms_iou=rpn_nms_iou,
            max_boxes=rpn_post_nms_test,
            min_score=0.0,
            ignore_iobb=ignore_iobb,
        )
        self.boxes = RoIStageND(
            dim,
            width,
            num_classes,
            level_sizes=anchor_sizes,
            roi_size=roi_size or ((7, 7) if dim == 2 else (3, 7, 7)),
            sampling_ratio=roi_sampling_ratio,
            head_channels=head_channels,
            fg_iou=roi_fg_iou,
            bg_iou=roi_bg_iou,
            rois_per_image=rois_per_image,
            positive_fraction=roi_positive_fraction,
            pool_factor=shem_pool_factor,
            add_ground_truth=roi_add_ground_truth,
            box_std=box_std,
            nms_iou=detection_nms_iou,
            max_boxes=detections_per_image,
            min_score=detection_score,
            ignore_iobb=ignore_iobb,
            mask_head=mask_head,
            mask_roi_size=mask_roi_size,
        )

    def losses(
        self, maps: dict[int, Tensor], targets: Sequence[dict[str, Tensor]], sizes: Sequence[tuple[int, ...]]
    ) -> dict[str, Tensor]:
        """``loss_objectness``, ``loss_rpn_box_reg`` and the second stage's losses of a batch."""
        logits, offsets, anchors = self.proposals(maps)
        # The proposal network knows one class: object.
        objects = [{**t, "labels": t["labels"].clamp(max=1)} for t in targets]
        objectness, box_loss = self.proposals.losses(logits, offsets, anchors, objects, sizes)
        found = self.proposals.boxes(logits, offsets, anchors, sizes, self.rpn_post_nms_train)
        second = self.boxes.losses(maps, [f["boxes"] for f in found], targets)
        return {"loss_objectness": objectness, "loss_rpn_box_reg": box_loss, **second}

    def detections(self, maps: dict[int, Tensor], sizes: Sequence[tuple[int, ...]]) -> list[dict[str, Tensor]]:
        """Boxes of every image of a batch."""
        logits, offsets, anchors = self.proposals(maps)
        found = self.proposals.boxes(logits, offsets, anchors, sizes, self.rpn_post_nms_test)
        return self.boxes.boxes(maps, [f["boxes"] for f in found], sizes)
