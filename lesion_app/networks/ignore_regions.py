"""Which candidate boxes must give neither positive nor negative gradient."""

from __future__ import annotations

from torch import Tensor
from torchvision.ops import box_iou

from lesion_app.boxes.overlap import lie_in


def in_ignore_region(candidates: Tensor, regions: Tensor, iobb_threshold: float, iou_threshold: float) -> Tensor:
    """Tell which candidates an ignore region takes out of the *negatives*.

    A candidate is taken out when at least ``iobb_threshold`` of its own area lies in one region (mmdetection's
    ``ignore_iof_thr``), or when its IoU with a region reaches ``iou_threshold``: had the region been a
    labelled lesion, the candidate would not have been background either.

    Args:
        candidates: anchors or proposals ``[N, 4]``, px.
        regions: ignore regions ``[M, 4]``, px; M may be 0.

    Returns:
        bool ``[N]``.
    """
    if regions.numel() == 0 or candidates.numel() == 0:
        return candidates.new_zeros(candidates.shape[0]).bool()
    return lie_in(candidates, regions, iobb_threshold) | (box_iou(candidates, regions).amax(dim=1) >= iou_threshold)
