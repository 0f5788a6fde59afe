"""What both forms of Retina U-Net add to a detector: it also learns to segment, at full resolution.

Jaeger et al., "Retina U-Net: Embarrassingly Simple Exploitation of Segmentation Supervision for Medical Object
Detection", ML4H 2019, sections 3.2 and 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lesion_app.networks.pyramid import PyramidBackbone
from lesion_app.networks.pyramid_detector import PyramidDetector
from lesion_app.networks.segmentation_stage import SegmentationStage


class SegmentingDetector(PyramidDetector):
    """Adds an auxiliary segmentation to the detector that comes after it among a class's bases.

    Targets may hold masks for all boxes, for some or for none. Training adds ``loss_segmentation``; detections hold
    ``masks [N, (D,) H, W]``, the probability of their class within their box.

    Args:
        backbone: U-FPN, levels [0, 2, 3, 4, 5].
        num_classes: foreground classes.
        segmentation_class_specific, dice_weight, cross_entropy_weight: see ``SegmentationStage``.
        return_masks: report masks; without, P1 and P0 are not even computed in evaluation.
        **rest: of the detector.

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
        """The detector's losses and ``loss_segmentation``."""
        segmentation = self.segmentation.loss(self.segmentation(maps[0]), targets, sizes)
        return {**super().losses(maps, targets, sizes), "loss_segmentation": segmentation}  # type: ignore[safe-super]

    def detections(self, maps: dict[int, Tensor], sizes: Sequence[tuple[int, ...]]) -> list[dict[str, Tensor]]:
        """The detector's boxes, with masks unless they are not asked for."""
        found = super().detections(maps, sizes)  # type: ignore[safe-super]
        if self.return_masks:
            self.segmentation.add_masks(self.segmentation(maps[0]), found, sizes)
        return found
