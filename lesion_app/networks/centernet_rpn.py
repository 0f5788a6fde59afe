"""CenterNet as a proposal network: a lesion is the peak of a heat map, with a size.

Zhou et al., "Objects as Points", arXiv 1904.07850, section 3 and 4; one of the proposal networks that LENS's Table II
compares. Numbers and what differs: ``docs/lens.md``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lesion_app.networks.map_cells import MapCells, flat_cells, logit, two_layer_branch
from lesion_app.networks.proposal_choice import ProposalChoice, Proposed, Sizes, Targets


class CenterNetRPN(nn.Module):
    """Heat map, size and offset branches; a :class:`~lesion_app.networks.proposal_choice.ProposalNetwork`.

    Losses, each divided by the boxes of the batch: ``loss_objectness`` (focal loss of the heat map, equation 1),
    ``loss_rpn_box_reg`` (``size_weight`` times L1 of width and height in cells, equation 3) and ``loss_rpn_offset``
    (``offset_weight`` times L1 of the centre's place in its cell, equation 2). Cells whose centres lie in an ``ignore``
    box are left out of the heat map's loss, unless they hold a lesion's centre.

    Args:
        in_channels: of the map.
        stride: px of the input a cell covers.
        channels: width of the branches' hidden layer.
        focal_alpha, focal_beta: exponents of the focal loss.
        size_weight, offset_weight: of the losses.
        peak_iou: a box moved by the radius of its peak still has this IoU with itself unmoved.
        peak_cells: side of the window in which a peak is the highest.
        prior: height of the heat map before training.
        prior_side_px: side of the boxes predicted before training.
        pre_nms_train, pre_nms_test, post_nms_train, post_nms_test, min_size: see
            :class:`~lesion_app.networks.proposal_choice.ProposalChoice`; peaks need no NMS.
    """

    def __init__(
        self,
        in_channels: int,
        stride: int = 4,
        channels: int = 256,
        focal_alpha: float = 2.0,
        focal_beta: float = 4.0,
        size_weight: float = 0.1,
        offset_weight: float = 1.0,
        peak_iou: float = 0.7,
        peak_cells: int = 3,
        prior: float = 0.1,
        prior_side_px: float = 16.0,
        pre_nms_train: int = 12000,
        pre_nms_test: int = 6000,
        post_nms_train: int = 2000,
        post_nms_test: int = 300,
        min_size: float = 8.0,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.focal_alpha, self.focal_beta = focal_alpha, focal_beta
        self.size_weight, self.offset_weight = size_weight, offset_weight
        self.peak_iou, self.peak_cells = peak_iou, peak_cells
        self.heat = two_layer_branch(in_channels, channels, 1, bias=logit(prior))
        self.side = two_layer_branch(in_channels, channels, 2, bias=prior_side_px / stride)
        self.offset = two_layer_branch(in_channels, channels, 2, bias=0.5)
        self.choice = ProposalChoice(pre_nms_train, pre_nms_test, post_nms_train, post_nms_test, None, min_size)

    def forward(self, features: Tensor, sizes: Sizes, targets: Targets | None = None) -> Proposed:
        """Proposals, scores and losses, see :class:`~lesion_app.networks.proposal_choice.ProposalNetwork`."""
        cells = MapCells.of(features, self.stride)
        heat = flat_cells(self.heat(features)).squeeze(2)
        side, offset = flat_cells(self.side(features)), flat_cells(self.offset(features))
        proposals, scores = self._peaks(cells, heat.detach(), side.detach(), offset.detach(), sizes)
        if targets is None:
            return proposals, scores, {}
        return proposals, scores, self._losses(cells, heat, side, offset, sizes, targets)

    def _peaks(
        self, cells: MapCells, heat: Tensor, side: Tensor, offset: Tensor, sizes: Sizes
    ) -> tuple[list[Tensor], list[Tensor]]:
        grid = heat.unflatten(1, (1, cells.height, cells.width))
        highest = F.max_pool2d(grid, self.peak_cells, stride=1, padding=self.peak_cells // 2).flatten(1)
        # Boxes without a side are left out by the choice.
        side = torch.where((heat == highest)[..., None], side, -1.0) * self.stride
        centre = cells.centres + (offset - 0.5) * self.stride
        boxes = torch.cat((centre - side / 2, centre + side / 2), dim=-1)
        scores = torch.where(heat == highest, heat.sigmoid(), 0.0)
        return self.choice(boxes, scores, sizes, self.training)

    def heat_target(self, cells: MapCells, boxes: Tensor) -> Tensor:
        """``[cells]``: 1 in the cell of each box's centre, falling off around it as a Gaussian of the box's size."""
        if not len(boxes):
            return torch.zeros(cells.height * cells.width, device=cells.device)
        radius = peak_radius((boxes[:, 2:] - boxes[:, :2]) / self.stride, self.peak_iou)
        sigma = (2 * radius + 1) / 6
        own = cells.hold_centre(boxes)
        middle = ((boxes[:, :2] + boxes[:, 2:]) / 2 / self.stride).floor()
        distance = (cells.centres / self.stride - 0.5)[:, None] - middle
        height = torch.exp(-distance.square().sum(dim=2) / (2 * sigma.square()))
        return torch.where(own, 1.0, height.clamp(max=1 - 1e-6)).amax(dim=1)

    def _losses(
        self, cells: MapCells, heat: Tensor, side: Tensor, offset: Tensor, sizes: Sizes, targets: Targets
    ) -> dict[str, Tensor]:
        heat_losses, side_losses, offset_losses = [], [], []
        for image, target in enumerate(targets):
            boxes = target["boxes"].to(heat)
            wanted = self.heat_target(cells, boxes)
            counted = cells.in_image(sizes[image])
            if "ignore" in target:
                counted &= (wanted == 1) | ~cells.in_boxes(target["ignore"].to(heat)).any(dim=1)
            heat_losses.append(
                peak_focal_loss(heat[image][counted], wanted[counted], self.focal_alpha, self.focal_beta)
            )
            cell, box = cells.hold_centre(boxes).nonzero(as_tuple=True)
            middle = (boxes[:, :2] + boxes[:, 2:])[box] / 2 / self.stride
            sides = (boxes[:, 2:] - boxes[:, :2])[box] / self.stride
            side_losses.append(F.l1_loss(side[image][cell], sides, reduction="sum"))
            offset_losses.append(F.l1_loss(offset[image][cell], middle - middle.floor(), reduction="sum"))
        count = max(sum(len(t["boxes"]) for t in targets), 1)
        return {
            "loss_objectness": torch.stack(heat_losses).sum() / count,
            "loss_rpn_box_reg": self.size_weight * torch.stack(side_losses).sum() / count,
            "loss_rpn_offset": self.offset_weight * torch.stack(offset_losses).sum() / count,
        }


def peak_focal_loss(logits: Tensor, wanted: Tensor, alpha: float = 2.0, beta: float = 4.0) -> Tensor:
    """Sum of CenterNet's focal loss (equation 1): cells near a peak are punished less for being high.

    Args:
        logits: ``[n]``.
        wanted: ``[n]``, 1 at peaks.
    """
    probability = logits.sigmoid()
    at_peak = (1 - probability) ** alpha * F.logsigmoid(logits)
    beside = (1 - wanted) ** beta * probability**alpha * F.logsigmoid(-logits)
    return -torch.where(wanted == 1, at_peak, beside).sum()


def peak_radius(sides: Tensor, iou: float) -> Tensor:
    """How far a box's corners may move for the box to keep an IoU of at least ``iou`` with itself unmoved.

    The smallest of three radii (CornerNet, Law & Deng, ECCV 2018, section 3.2): both corners moved the same way,
    inwards, outwards by r along x and y. Each is the smaller positive root of a quadratic.

    Args:
        sides: ``[N, 2]`` width and height.
        iou: in (0, 1).

    Returns:
        ``[N]`` in the unit of ``sides``.
    """
    total, area = sides.sum(dim=1), sides.prod(dim=1)
    moved = (total - (total.square() - 4 * area * (1 - iou) / (1 + iou)).sqrt()) / 2
    inwards = (total - (total.square() - 4 * area * (1 - iou)).sqrt()) / 4
    outwards = (((total * iou).square() + 4 * iou * (1 - iou) * area).sqrt() - total * iou) / (4 * iou)
    return torch.stack((moved, inwards, outwards)).amin(dim=0)
