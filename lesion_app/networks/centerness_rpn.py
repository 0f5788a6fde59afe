"""LENS's anchor-free proposal network (AFP): is this cell in the middle of a lesion, and where are its borders?

Yan et al., "Learning from multiple datasets with heterogeneous and partial labels for universal lesion detection in
CT", IEEE TMI 40(10), 2021, section IV-B. What the paper leaves open is said in ``docs/lens.md``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from lesion_app.networks.map_cells import (
    MapCells,
    flat_cells,
    logit,
    scaled_boxes,
    smallest_claim,
    two_layer_branch,
)
from lesion_app.networks.proposal_choice import ProposalChoice, Proposed, Sizes, Targets


class CenternessRPN(nn.Module):
    """A centerness and a box branch on one map; a :class:`~lesion_app.networks.proposal_choice.ProposalNetwork`.

    Losses: ``loss_objectness``, focal loss over all cells that count, and ``loss_rpn_box_reg``, ``size_weight`` times
    the L1 distance of the four predicted borders (in cells, summed over the four) in the centre regions; both are
    sums divided by the number of cells in centre regions of the batch.

    Args:
        in_channels: of the map.
        stride: px of the input a cell covers.
        channels: width of the branches' hidden layer.
        centre_ratio: r_c; a cell whose centre lies in the lesion's box shrunk by it is a positive.
        ignore_ratio: r_i; other cells in the box shrunk by it count neither way.
        uncertain_ratio: the same for boxes of ``ignore``, which have no positives; 1 = the whole box.
        focal_alpha, focal_gamma: of the focal loss; a negative alpha weighs both sides alike.
        size_weight: lambda_1 of equation 1.
        prior: centerness everywhere before training.
        prior_side_px: side of the boxes predicted before training.
        pre_nms_train, pre_nms_test, post_nms_train, post_nms_test, nms_iou, min_size: see
            :class:`~lesion_app.networks.proposal_choice.ProposalChoice`.

    Raises:
        ValueError: unless 0 < centre_ratio <= ignore_ratio <= 1 and 0 <= uncertain_ratio <= 1.
    """

    def __init__(
        self,
        in_channels: int,
        stride: int = 4,
        channels: int = 256,
        centre_ratio: float = 0.2,
        ignore_ratio: float = 0.5,
        uncertain_ratio: float = 1.0,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        size_weight: float = 0.1,
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
        if not 0 < centre_ratio <= ignore_ratio <= 1 or not 0 <= uncertain_ratio <= 1:
            raise ValueError(
                "need 0 < centre_ratio <= ignore_ratio <= 1 and 0 <= uncertain_ratio <= 1, got "
                f"{centre_ratio}, {ignore_ratio}, {uncertain_ratio}"
            )
        self.stride = stride
        self.centre_ratio, self.ignore_ratio, self.uncertain_ratio = centre_ratio, ignore_ratio, uncertain_ratio
        self.focal_alpha, self.focal_gamma = focal_alpha, focal_gamma
        self.size_weight = size_weight
        self.centerness = two_layer_branch(in_channels, channels, 1, bias=logit(prior))
        self.borders = two_layer_branch(in_channels, channels, 4, bias=prior_side_px / 2 / stride)
        self.choice = ProposalChoice(pre_nms_train, pre_nms_test, post_nms_train, post_nms_test, nms_iou, min_size)

    def forward(self, features: Tensor, sizes: Sizes, targets: Targets | None = None) -> Proposed:
        """Proposals, scores and losses, see :class:`~lesion_app.networks.proposal_choice.ProposalNetwork`."""
        cells = MapCells.of(features, self.stride)
        logits = flat_cells(self.centerness(features)).squeeze(2)
        distances = flat_cells(self.borders(features))
        proposals, scores = self.choice(
            cells.boxes_from(distances.detach()), logits.detach().sigmoid(), sizes, self.training
        )
        return proposals, scores, {} if targets is None else self._losses(cells, logits, distances, sizes, targets)

    def assign(self, cells: MapCells, boxes: Tensor, ignore: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """What each cell is to learn from the boxes ``[N, 4]`` and uncertain boxes ``[M, 4]`` of one image.

        Returns:
            labels ``[cells]`` int64, 1 = centre region, 0 = background, -1 = ignored (cells of the padding, too), and
            for each cell the index of its box, -1 where there is none.
        """
        # A small lesion's centre region may fall between the cells' centres; the cell it lies in stands for it then.
        claims = cells.in_boxes(scaled_boxes(boxes, self.centre_ratio)) | cells.hold_centre(boxes)
        matched = smallest_claim(claims, boxes)
        ignored = cells.in_boxes(scaled_boxes(boxes, self.ignore_ratio)).any(dim=1)
        ignored |= cells.in_boxes(scaled_boxes(ignore, self.uncertain_ratio)).any(dim=1)
        labels = torch.where(matched >= 0, 1, torch.where(ignored, -1, 0))
        return torch.where(cells.in_image(size), labels, -1), matched

    def _losses(
        self, cells: MapCells, logits: Tensor, distances: Tensor, sizes: Sizes, targets: Targets
    ) -> dict[str, Tensor]:
        centre_losses, size_losses, positives = [], [], []
        for logit_, distance, size, target in zip(logits, distances, sizes, targets):
            boxes = target["boxes"].to(distance)
            ignore = target["ignore"].to(distance) if "ignore" in target else boxes[:0]
            labels, matched = self.assign(cells, boxes, ignore, size)
            counted, centre = labels >= 0, labels == 1
            centre_losses.append(
                sigmoid_focal_loss(
                    logit_[counted], labels[counted].to(logit_), self.focal_alpha, self.focal_gamma, reduction="sum"
                )
            )
            wanted = cells.distances_to(boxes[matched]) if len(boxes) else torch.zeros_like(distance)
            size_losses.append(F.l1_loss(distance[centre], wanted[centre], reduction="sum"))
            positives.append(centre.sum())
        count = torch.stack(positives).sum().clamp(min=1)
        return {
            "loss_objectness": torch.stack(centre_losses).sum() / count,
            "loss_rpn_box_reg": self.size_weight * torch.stack(size_losses).sum() / count,
        }
