"""Mask R-CNN in 2D and 3D.

He et al., "Mask R-CNN", ICCV 2017, on the FPN and with the sizes of Jaeger et al., "Retina U-Net", ML4H 2019, section
3.3 and figure 2a. I/O: ``TwoStageND``; targets may hold masks for all boxes, for some or for none, and detections hold
``masks [N, (D,) H, W]``, the probability of their class within their box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lesion_app.networks.mask_head_nd import MaskHeadND
from lesion_app.networks.pyramid import PyramidBackbone
from lesion_app.networks.two_stage import TwoStageND


class MaskRCNNND(TwoStageND):
    """Two-stage detector that learns the shape of each object within its proposal.

    Args:
        backbone: FPN.
        num_classes: foreground classes.
        mask_channels: of the mask head; None = those of the pyramid.
        mask_roi_size: cells of the mask head before doubling; None = (14, 14) or (5, 14, 14).
        return_masks: report masks.
        **rest: of ``TwoStageND``.
    """

    def __init__(
        self,
        backbone: PyramidBackbone,
        num_classes: int = 1,
        mask_channels: int | None = None,
        mask_roi_size: Sequence[int] | None = None,
        return_masks: bool = True,
        **rest: Any,
    ) -> None:
        width = backbone.out_channels
        super().__init__(
            backbone,
            num_classes,
            mask_head=MaskHeadND(backbone.dim, width, num_classes, mask_channels or width),
            mask_roi_size=mask_roi_size or ((14, 14) if backbone.dim == 2 else (5, 14, 14)),
            **rest,
        )
        self.return_masks = return_masks

    def detections(self, maps: dict[int, Tensor], sizes: Sequence[tuple[int, ...]]) -> list[dict[str, Tensor]]:
        """Boxes of every image of a batch, with masks unless they are not asked for."""
        found = super().detections(maps, sizes)
        if self.return_masks:
            for image, masks in zip(found, self.boxes.masks(maps, found, sizes)):
                image["masks"] = masks
        return found
