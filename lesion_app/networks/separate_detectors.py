"""Detectors of one data set each, asked one after the other and fused: LENS's peer "separate models"."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lesion_app.boxes.expert_fusion import fuse_experts


class SeparateDetectors(nn.Module):
    """Several whole detectors whose finds on a slice are pooled and suppressed (LENS, Table IV, "separate models").

    For evaluation only. Detectors take the same slabs; their number multiplies time and memory.

    Args:
        detectors: of one class of lesions each, with the detector protocol of the project.
        fusion_nms_iou: see :func:`~lesion_app.boxes.expert_fusion.fuse_experts`.
        detections_per_image: most fused boxes an image; None = all.

    Raises:
        ValueError: without a detector, or when they take slabs of different numbers of slices.
    """

    def __init__(
        self, detectors: Sequence[nn.Module], fusion_nms_iou: float = 0.5, detections_per_image: int | None = 50
    ) -> None:
        super().__init__()
        slices = {getattr(detector, "num_slices", None) for detector in detectors}
        if len(slices) != 1:
            raise ValueError(f"need detectors that take equally many slices, got {sorted(map(str, slices))}")
        self.detectors = nn.ModuleList(detectors)
        self.num_slices = slices.pop()
        self.fusion_nms_iou, self.detections_per_image = fusion_nms_iou, detections_per_image

    def forward(self, slabs: list[Tensor], targets: None = None) -> list[dict[str, Tensor]]:
        """Detections ``{boxes, scores, labels (1), experts}`` of each slab; ``experts`` counts the detectors from 1.

        Raises:
            ValueError: in training mode.
        """
        if self.training:
            raise ValueError("separate detectors are trained one by one; call eval() first")
        found = [detector(slabs) for detector in self.detectors]
        return [
            fuse_experts(
                {
                    "boxes": torch.cat([one["boxes"] for one in image]),
                    "scores": torch.cat([one["scores"] for one in image]),
                    "labels": torch.cat([torch.full_like(one["labels"], n) for n, one in enumerate(image, start=1)]),
                },
                self.fusion_nms_iou,
                self.detections_per_image,
            )
            for image in zip(*found)
        ]
