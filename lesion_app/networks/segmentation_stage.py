"""Pixel-wise classes from the finest level of a U-FPN: the auxiliary task of Retina U-Net."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from lesion_app.networks.detection_targets import has_mask
from lesion_app.networks.pyramid import PyramidBackbone

logger = logging.getLogger("lesion_app.training")

UNKNOWN = -1
"""Class of pixels that the loss does not look at."""
_BOXES_WITHOUT_MASK = 100


class SegmentationStage(nn.Module):
    """1 x 1 convolution on P0, soft Dice and cross entropy.

    Jaeger et al., "Retina U-Net", section 3.2, equation 1. As in the published program Dice is that of the foreground
    classes, over all pixels of the batch, and the two losses are halved. A class without a pixel in the batch gives a
    constant Dice term and so no gradient, as in the equation.

    Args:
        backbone: U-FPN, whose P0 is read; it is not kept.
        num_classes: foreground classes.
        class_specific: False tells only foreground from background.
        dice_weight, cross_entropy_weight: of the two losses.
        class_weights: of background and the classes in the cross entropy; None = all 1.

    Raises:
        ValueError: the backbone is no U-FPN, or another number of class weights than classes.
    """

    class_weights: Tensor

    def __init__(
        self,
        backbone: PyramidBackbone,
        num_classes: int,
        class_specific: bool = True,
        dice_weight: float = 0.5,
        cross_entropy_weight: float = 0.5,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        backbone.require((0,), "segmentation")
        count = 1 + (num_classes if class_specific else 1)
        if class_weights is not None and len(class_weights) != count:
            raise ValueError(f"expected {count} class_weights, background first, got {len(class_weights)}")
        self.class_specific = class_specific
        self.dice_weight = dice_weight
        self.cross_entropy_weight = cross_entropy_weight
        self.classes = Conv[Conv.CONV, backbone.dim](backbone.out_channels, count, 1)
        self.dice = DiceLoss(include_background=False, batch=True, smooth_nr=0.0, smooth_dr=1e-6)
        weights = torch.ones(count) if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)
        self._boxes_seen = self._masks_seen = 0

    def forward(self, finest: Tensor) -> Tensor:
        """Logits ``[B, classes, (D,) H, W]`` of P0, background first, float32."""
        return self.classes(finest).float()

    def loss(self, logits: Tensor, targets: Sequence[dict[str, Tensor]], sizes: Sequence[tuple[int, ...]]) -> Tensor:
        """The weighted sum of both losses; pixels that nobody outlined (see ``truth_map``) take no part."""
        self._watch(targets)
        truth = torch.full((len(logits), *logits.shape[2:]), UNKNOWN, dtype=torch.int64, device=logits.device)
        for row, target, size in zip(truth, targets, sizes):
            row[tuple(slice(n) for n in size)] = truth_map(target, size, self.class_specific).to(row.device)
        known = (truth != UNKNOWN)[:, None]
        classes = logits.shape[1]
        one_hot = F.one_hot(truth.clamp(min=0), classes).movedim(-1, 1).to(logits) * known
        dice = self.dice(logits.softmax(dim=1) * known, one_hot)
        if not bool(one_hot[:, 1:].any()):
            dice = dice * 0  # MONAI's term of nothing at all is a constant 1, which would only shift the curve
        entropy = F.cross_entropy(logits, truth, self.class_weights, ignore_index=UNKNOWN, reduction="sum")
        entropy = entropy / (self.class_weights[truth.clamp(min=0)] * known[:, 0]).sum().clamp(min=1e-6)
        return self.dice_weight * dice + self.cross_entropy_weight * entropy

    def _watch(self, targets: Sequence[dict[str, Tensor]]) -> None:
        """Tell once when a hundred boxes went by without a mask: only background is learnt then."""
        before = self._boxes_seen
        self._boxes_seen += sum(len(target["boxes"]) for target in targets)
        self._masks_seen += sum(len(target.get("masks", ())) for target in targets)
        if before < _BOXES_WITHOUT_MASK <= self._boxes_seen and not self._masks_seen:
            logger.warning(
                "none of %d boxes had a mask, so the segmentation learns background only; "
                "add the config outlined_labels.json, or masks",
                self._boxes_seen,
            )

    def masks(self, logits: Tensor, detections: dict[str, Tensor]) -> Tensor:
        """Masks ``[N, (D,) H, W]`` of one image's detections: the probability of their class within their box.

        Args:
            logits: ``[classes, (D,) H, W]`` of the image without padding.
            detections: ``boxes``, ``labels``.
        """
        probability = logits.softmax(dim=0)
        labels = detections["labels"] if self.class_specific else torch.ones_like(detections["labels"])
        return probability[labels] * box_pixels(detections["boxes"], tuple(logits.shape[1:]))

    def add_masks(
        self, logits: Tensor, detections: Sequence[dict[str, Tensor]], sizes: Sequence[tuple[int, ...]]
    ) -> None:
        """Give the detections of every image their ``masks``; ``logits`` ``[B, classes, (D,) H, W]`` with padding."""
        for logit, found, size in zip(logits.detach(), detections, sizes):
            found["masks"] = self.masks(logit[(slice(None), *(slice(n) for n in size))], found)


def truth_map(target: dict[str, Tensor], size: tuple[int, ...], class_specific: bool = True) -> Tensor:
    """Class of every pixel, int64 ((D,) H, W).

    Pixels of a mask have the class of its box (of overlapping masks, that of the later box). Of the rest, those inside
    a box without a mask and those in an ignored region are ``UNKNOWN``: nobody said where in the box the lesion ends.
    Everything else is background.
    """
    boxes, known = target["boxes"], has_mask(target)
    truth = torch.zeros(size, dtype=torch.int64, device=boxes.device)
    for unknown in (boxes[~known], target.get("ignore")):
        if unknown is not None and len(unknown):
            truth[box_pixels(unknown, size).any(dim=0)] = UNKNOWN
    if known.any():
        rows = known.nonzero()[:, 0]
        masks = target["masks"].to(boxes.device)[rows] > 0
        labels = target["labels"][rows] if class_specific else torch.ones_like(rows)
        # The number of the last mask that has the pixel, from 1.
        order = torch.arange(1, len(rows) + 1, device=boxes.device).reshape(-1, *[1] * len(size))
        last = (masks * order).amax(dim=0)
        truth = torch.where(last > 0, labels[(last - 1).clamp(min=0)], truth)
    return truth


def box_pixels(boxes: Tensor, size: tuple[int, ...]) -> Tensor:
    """Pixels that each box touches, bool ``[N, (D,) H, W]``; boxes half-open, (x, y(, z)) order."""
    dim = len(size)
    found: Tensor | None = None
    for axis in range(dim):  # x is the last dimension
        place = torch.arange(size[dim - 1 - axis], device=boxes.device, dtype=boxes.dtype)
        along = (place >= boxes[:, axis : axis + 1].floor()) & (place < boxes[:, axis + dim : axis + dim + 1].ceil())
        along = along.reshape(len(boxes), *[len(place) if d == dim - 1 - axis else 1 for d in range(dim)])
        found = along if found is None else found & along
    assert found is not None  # dim is 2 or 3
    return found
