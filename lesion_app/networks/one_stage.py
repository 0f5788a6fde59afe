"""What RetinaNet and Retina U-Net share: a pyramid and one stage of anchors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lesion_app.networks.anchor_stage import AnchorStage
from lesion_app.networks.anchors_nd import PyramidAnchors
from lesion_app.networks.dense_head import DenseHead
from lesion_app.networks.pyramid import PyramidBackbone
from lesion_app.networks.pyramid_detector import PyramidDetector


class OneStageND(PyramidDetector):
    """One-stage detector for images and volumes.

    Sources of the numbers: ``docs/retina_unet.md``.

    Args:
        backbone, num_classes: see ``PyramidDetector``, and there for the I/O.
        anchor_*: see ``PyramidAnchors``.
        head_channels, head_layers: see ``DenseHead``.
        fg_iou, bg_iou, anchors_per_image, shem_pool_factor, box_std, pre_nms, ignore_iobb: see ``AnchorStage``.
        detection_score, detection_nms_iou, detections_per_image: lowest score, suppression and number of the boxes
            reported.
    """

    def __init__(
        self,
        backbone: PyramidBackbone,
        num_classes: int = 1,
        anchor_sizes: Sequence[float] = (4, 8, 16, 32),
        anchor_sizes_z: Sequence[float] = (1, 2, 4, 8),
        anchor_scales: Sequence[float] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3)),
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        head_channels: int = 256,
        head_layers: int = 4,
        fg_iou: float = 0.5,
        bg_iou: float = 0.1,
        anchors_per_image: int = 6,
        shem_pool_factor: int = 20,
        box_std: Sequence[float] = (0.1, 0.2),
        pre_nms: int = 10000,
        detection_score: float = 0.1,
        detection_nms_iou: float = 1e-5,
        detections_per_image: int = 10,
        ignore_iobb: float = 0.5,
    ) -> None:
        super().__init__(backbone, num_classes)
        anchors = PyramidAnchors(backbone.dim, anchor_sizes, anchor_sizes_z, anchor_scales, anchor_ratios)
        self.stage = AnchorStage(
            anchors,
            DenseHead(
                backbone.dim, backbone.out_channels, anchors.per_cell, num_classes + 1, head_channels, head_layers
            ),
            fg_iou=fg_iou,
            bg_iou=bg_iou,
            anchors_per_image=anchors_per_image,
            pool_factor=shem_pool_factor,
            box_std=box_std,
            pre_nms=pre_nms,
            nms_iou=detection_nms_iou,
            max_boxes=detections_per_image,
            min_score=detection_score,
            ignore_iobb=ignore_iobb,
        )

    def losses(
        self, maps: dict[int, Tensor], targets: Sequence[dict[str, Tensor]], sizes: Sequence[tuple[int, ...]]
    ) -> dict[str, Tensor]:
        """``loss_classifier`` and ``loss_box_reg`` of a batch."""
        logits, offsets, anchors = self.stage(maps)
        class_loss, box_loss = self.stage.losses(logits, offsets, anchors, targets, sizes)
        return {"loss_classifier": class_loss, "loss_box_reg": box_loss}

    def detections(self, maps: dict[int, Tensor], sizes: Sequence[tuple[int, ...]]) -> list[dict[str, Tensor]]:
        """Boxes of every image of a batch."""
        logits, offsets, anchors = self.stage(maps)
        return self.stage.boxes(logits, offsets, anchors, sizes)
