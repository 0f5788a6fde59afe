"""FCOS as a proposal network: every cell inside a lesion predicts its box.

Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", ICCV 2019, on one level and with one class; one of
the proposal networks that LENS's Table II compares. Numbers and what differs: ``docs/lens.md``.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from lesion_app.networks.map_cells import MapCells, flat_cells, logit, smallest_claim
from lesion_app.networks.proposal_choice import ProposalChoice, Proposed, Sizes, Targets


class FCOSRPN(nn.Module):
    """Towers for lesion and borders, and center-ness: a
    :class:`~lesion_app.networks.proposal_choice.ProposalNetwork`.

    Losses: ``loss_objectness`` (focal loss over all cells that count, by the number of cells inside lesions),
    ``loss_rpn_box_reg`` (``box_weight`` times generalised IoU loss, weighted by the wanted center-ness as in the
    authors' code) and ``loss_rpn_centerness`` (binary cross-entropy, equation 3). A cell in an ``ignore`` box counts
    neither way unless it lies in a lesion, too.

    Args:
        in_channels: of the map.
        stride: px of the input a cell covers.
        channels, tower_layers: width and number of each tower's 3x3 convolutions.
        groups: of group normalisation, at most.
        focal_alpha, focal_gamma: of the focal loss.
        box_weight: of the box loss.
        prior: score everywhere before training.
        prior_side_px: side of the boxes predicted before training.
        pre_nms_train, pre_nms_test, post_nms_train, post_nms_test, nms_iou, min_size: see
            :class:`~lesion_app.networks.proposal_choice.ProposalChoice`.
    """

    def __init__(
        self,
        in_channels: int,
        stride: int = 4,
        channels: int = 256,
        tower_layers: int = 4,
        groups: int = 32,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        box_weight: float = 1.0,
        prior: float = 0.01,
        prior_side_px: float = 16.0,
        pre_nms_train: int = 12000,
        pre_nms_test: int = 6000,
        post_nms_train: int = 2000,
        post_nms_test: int = 300,
        nms_iou: float = 0.7,
        min_size: float = 8.0,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.focal_alpha, self.focal_gamma, self.box_weight = focal_alpha, focal_gamma, box_weight
        self.lesion_tower = _tower(in_channels, channels, tower_layers, groups)
        self.border_tower = _tower(in_channels, channels, tower_layers, groups)
        self.lesion = nn.Conv2d(channels, 1, 3, padding=1)
        self.borders = nn.Conv2d(channels, 4, 3, padding=1)
        self.centerness = nn.Conv2d(channels, 1, 3, padding=1)
        for conv in (self.lesion, self.borders, self.centerness):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.lesion.bias, logit(prior))  # type: ignore[arg-type]
        # exp() of it: the distance from the middle to a border, in cells
        nn.init.constant_(self.borders.bias, math.log(prior_side_px / 2 / stride))  # type: ignore[arg-type]
        self.choice = ProposalChoice(pre_nms_train, pre_nms_test, post_nms_train, post_nms_test, nms_iou, min_size)

    def forward(self, features: Tensor, sizes: Sizes, targets: Targets | None = None) -> Proposed:
        """Proposals, scores (lesion times center-ness) and losses, see
        :class:`~lesion_app.networks.proposal_choice.ProposalNetwork`."""
        cells = MapCells.of(features, self.stride)
        of_lesion, of_border = self.lesion_tower(features), self.border_tower(features)
        logits = flat_cells(self.lesion(of_lesion)).squeeze(2)
        middle = flat_cells(self.centerness(of_border)).squeeze(2)
        # Bounded by the map, so that a wild first step cannot overflow.
        distances = flat_cells(self.borders(of_border)).clamp(max=math.log(4 * max(cells.height, cells.width))).exp()
        boxes = cells.boxes_from(distances)
        scores = logits.detach().sigmoid() * middle.detach().sigmoid()
        proposals, scores_kept = self.choice(boxes.detach(), scores, sizes, self.training)
        losses = {} if targets is None else self._losses(cells, logits, middle, boxes, sizes, targets)
        return proposals, scores_kept, losses

    def assign(self, cells: MapCells, boxes: Tensor, ignore: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Labels ``[cells]`` int64 (1 in a lesion, 0 background, -1 ignored or padding) and each cell's box, or -1."""
        # A lesion narrower than a cell may hold no cell's centre; the cell it lies in stands for it then.
        matched = smallest_claim(cells.in_boxes(boxes) | cells.hold_centre(boxes), boxes)
        ignored = cells.in_boxes(ignore).any(dim=1)
        labels = torch.where(matched >= 0, 1, torch.where(ignored, -1, 0))
        return torch.where(cells.in_image(size), labels, -1), matched

    def _losses(
        self, cells: MapCells, logits: Tensor, middle: Tensor, predicted: Tensor, sizes: Sizes, targets: Targets
    ) -> dict[str, Tensor]:
        lesion_losses, box_losses, middle_losses, positives, weights = [], [], [], [], []
        for i, target in enumerate(targets):
            boxes = target["boxes"].to(logits)
            ignore = target["ignore"].to(logits) if "ignore" in target else boxes[:0]
            labels, matched = self.assign(cells, boxes, ignore, sizes[i])
            counted, inside = labels >= 0, labels == 1
            lesion_losses.append(
                sigmoid_focal_loss(
                    logits[i][counted], labels[counted].to(logits), self.focal_alpha, self.focal_gamma, reduction="sum"
                )
            )
            truth = boxes[matched[inside]]
            wanted = wanted_centerness(cells.distances_to(boxes[matched])[inside]) if len(boxes) else truth[:, 0]
            box_loss = generalized_box_iou_loss(predicted[i][inside], truth, reduction="none")
            box_losses.append((box_loss * wanted).sum())
            middle_losses.append(F.binary_cross_entropy_with_logits(middle[i][inside], wanted, reduction="sum"))
            positives.append(inside.sum())
            weights.append(wanted.sum())
        count = torch.stack(positives).sum().clamp(min=1)
        return {
            "loss_objectness": torch.stack(lesion_losses).sum() / count,
            "loss_rpn_box_reg": self.box_weight
            * torch.stack(box_losses).sum()
            / torch.stack(weights).sum().clamp(1e-6),
            "loss_rpn_centerness": torch.stack(middle_losses).sum() / count,
        }


def wanted_centerness(distances: Tensor) -> Tensor:
    """FCOS's equation 3 for distances ``[n, 4]`` to left, top, right, bottom: 1 in the middle, 0 on the border."""
    left, top, right, bottom = distances.clamp(min=1e-3).unbind(dim=1)
    across = torch.minimum(left, right) / torch.maximum(left, right)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (across * down).sqrt()


def _tower(in_channels: int, channels: int, layers: int, groups: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for layer in range(layers):
        conv = nn.Conv2d(channels if layer else in_channels, channels, 3, padding=1)
        nn.init.normal_(conv.weight, std=0.01)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        parts += [conv, nn.GroupNorm(math.gcd(groups, channels), channels), nn.ReLU()]
    return nn.Sequential(*parts)
