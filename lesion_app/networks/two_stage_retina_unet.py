"""Two-stage Retina U-Net: Faster R-CNN+ on a U-Net-like pyramid that also learns to segment.

Jaeger et al., "Retina U-Net", ML4H 2019, section 3.3 and figure 2d. I/O: ``TwoStageND``; targets may hold masks for all
boxes, for some or for none, and detections hold ``masks [N, (D,) H, W]``, the probability of their class within their
box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lesion_app.networks.pyramid import PyramidBackbone
from lesion_app.networks.segmentation_stage import SegmentationStage
from lesion_app.networks.two_stage import TwoStageND


class TwoStageRetinaUNet(TwoStageND):
    """Two-stage detector with an auxiliary segmentation at full resolution.

    Args:
        backbone: U-FPN, levels [0, 2, 3, 4, 5].
        num_classes: foreground classes.
        segmentation_class_specific, dice_weight, cross_entropy_weight: see ``SegmentationStage``.
        return_masks: report masks; without, P1 and P0 are not even computed in evaluation.
        **rest: of ``TwoStageND``.

    Raises:
        ValueError: the backbone is no U-FPN.
    """

    def __init__(
        self,
        backbone: PyramidBackbone,
        num_classes: int = 1,
        segmentation_class_specific: bool = True,
        dice_weight: float = 0.5,
        cross_entropy_weight: float = 0.5,
        return_masks: bool = True,
        **rest: Any,
    ) -> None:
        super().__init__(backbone, num_classes, **rest)
        self.return_masks = return_masks
        self.segmentation = SegmentationStage(
            backbone, num_classes, segmentation_class_specific, dice_weight, cross_entropy_weight
        )

    @property
    def finest_level(self) -> int:
        """P0 where it is needed, P2 for boxes alone."""
        return 0 if self.training or self.return_masks else 2

    def losses(
        self, maps: dict[int, Tensor], targets: Sequence[dict[str, Tensor]], sizes: Sequence[tuple[int, ...]]
    ) -> dict[str, Tensor]:
        """Faster R-CNN's losses and ``loss_segmentation``."""
        segmentation = self.segmentation.loss(self.segmentation(maps[0]), targets, sizes)
        return {**super().losses(maps, targets, sizes), "loss_segmentation": segmentation}

    def detections(self, maps: dict[int, Tensor], sizes: Sequence[tuple[int, ...]]) -> list[dict[str, Tensor]]:
        """Faster R-CNN's boxes, with masks unless they are not asked for."""
        found = super().detections(maps, sizes)
        if self.return_masks:
            self.segmentation.add_masks(self.segmentation(maps[0]), found, sizes)
        return found
