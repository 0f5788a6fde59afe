"""YOLOv4's losses: complete IoU, objectness with two kinds of places that do not count, and one logistic per class.

Sources: YOLOv4 (arXiv 2004.10934, section 3.4: CIoU loss, several anchors for one truth), CIoU (Zheng et al.,
arXiv 1911.08287, equations 8 to 11), YOLOv3 (arXiv 1804.02767, section 2.1: the ignore rule). Losses are sums over the
places of an image, averaged over the images, as Darknet's are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image, complete_box_iou_loss

from lesion_app.boxes.overlap import box_iou
from lesion_app.networks.ignore_regions import in_ignore_region
from lesion_app.networks.yolo_head import Predictions


class YOLOLoss(nn.Module):
    """The three losses of a batch.

    A truth is taught to the place of its centre's cell and of the anchor most like it in shape, on whichever head that
    is, and to all anchors more like it than ``anchor_iou``. Every other place is taught that there is nothing, but for
    those whose predicted box overlaps a truth by more than ``ignore_iou``, those in an ignore region, and those in the
    padding around an image.

    Args:
        anchors: ``[heads, A, 2]`` (width, height) px.
        strides: of the heads' maps.
        ignore_iou: Darknet's ``ignore_thresh``.
        anchor_iou: Darknet's ``iou_thresh``: IoU of shapes with one centre; 1 = the best anchor alone.
        box_weight: of the CIoU loss. Ours: Darknet's ``iou_normalizer`` of 0.07 scales derivatives by the box in shares
            of the image, leaving out the sigmoid's slope and the stride, and means nothing to true derivatives.
        objectness_weight, class_weight: Darknet's ``obj_normalizer`` and ``cls_normalizer``.
        ignore_iobb: share of a box inside an ignore region from which it is ignored.
    """

    anchors: Tensor

    def __init__(
        self,
        anchors: Sequence[Sequence[Sequence[float]]],
        strides: Sequence[int],
        ignore_iou: float = 0.7,
        anchor_iou: float = 0.213,
        box_weight: float = 3.0,
        objectness_weight: float = 1.0,
        class_weight: float = 1.0,
        ignore_iobb: float = 0.5,
    ) -> None:
        super().__init__()
        self.register_buffer("anchors", torch.tensor(anchors, dtype=torch.float32), persistent=False)
        self.strides = tuple(strides)
        self.ignore_iou, self.anchor_iou, self.ignore_iobb = ignore_iou, anchor_iou, ignore_iobb
        self.box_weight, self.objectness_weight, self.class_weight = box_weight, objectness_weight, class_weight

    def forward(
        self, predictions: Predictions, targets: Sequence[dict[str, Tensor]], sizes: Sequence[tuple[int, int]]
    ) -> dict[str, Tensor]:
        """Losses ``loss_box``, ``loss_objectness`` and ``loss_class``, float32 scalars.

        Args:
            predictions: of the heads.
            targets: for each image ``boxes [N, 4]`` px, ``labels [N]`` from 1, and optionally ``ignore [M, 4]``.
            sizes: (H, W) px of the images before padding.
        """
        each = [self._image(predictions, i, target, size) for i, (target, size) in enumerate(zip(targets, sizes))]
        box, objectness, classes = (torch.stack(part).sum() / len(each) for part in zip(*each))
        return {
            "loss_box": self.box_weight * box,
            "loss_objectness": self.objectness_weight * objectness,
            "loss_class": self.class_weight * classes,
        }

    def _image(
        self, predictions: Predictions, index: int, target: dict[str, Tensor], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        boxes, objectness = predictions.boxes[index], predictions.objectness[index]
        truth = target["boxes"].to(boxes)
        number, place = self.assign(truth, predictions.grids, size)
        box_loss = complete_box_iou_loss(boxes[place], truth[number])
        wanted = torch.zeros_like(objectness).index_fill(0, place, 1.0)
        counts = ~self.ignored(predictions, index, truth, target.get("ignore"), size)
        object_loss = F.binary_cross_entropy_with_logits(objectness, wanted, reduction="none")
        object_loss = ((wanted > 0) | counts).to(object_loss) * object_loss
        # Where several truths share a place, it belongs to all of their classes.
        unique, row = place.unique(return_inverse=True)
        logits = predictions.classes[index][unique]
        one_hot = torch.zeros_like(logits)
        one_hot[row, target["labels"][number] - 1] = 1.0
        class_loss = F.binary_cross_entropy_with_logits(logits, one_hot, reduction="sum")
        return box_loss.sum(), object_loss.sum(), class_loss

    def assign(self, truth: Tensor, grids: Sequence[tuple[int, int]], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Which truths teach which places.

        Args:
            truth: ``[N, 4]`` px.
            grids: rows and columns of the heads' maps.
            size: (H, W) px of the image.

        Returns:
            numbers of truths ``[K]`` and places ``[K]`` (see :class:`Predictions`), int64, K >= N.
        """
        per_cell = self.anchors.shape[1]
        side = truth[:, 2:] - truth[:, :2]
        overlap = _shape_iou(side, self.anchors.flatten(0, 1).to(side))
        positive = overlap > self.anchor_iou
        positive[torch.arange(len(truth), device=truth.device), overlap.argmax(dim=1)] = True
        number, anchor = positive.nonzero().unbind(dim=1)
        head = anchor // per_cell
        limits = truth.new_tensor([size[1], size[0]])
        # A centre on the far edge of the image belongs to the last cell.
        centre = ((truth[:, :2] + truth[:, 2:]) / 2).clamp(min=0).minimum(limits - 1e-3)
        cells = torch.tensor([rows * columns * per_cell for rows, columns in grids], device=truth.device)
        first = cells.cumsum(0) - cells
        stride = torch.tensor(self.strides, device=truth.device)[head]
        columns = torch.tensor([columns for _, columns in grids], device=truth.device)[head]
        column, row = (centre[number] / stride[:, None]).long().unbind(dim=1)
        return number, first[head] + (row * columns + column) * per_cell + anchor % per_cell

    def ignored(
        self,
        predictions: Predictions,
        index: int,
        truth: Tensor,
        regions: Tensor | None,
        size: tuple[int, int],
    ) -> Tensor:
        """Places of image ``index`` that are not taught to be background: bool ``[P]``.

        In an ignore region is a place whose predicted box or whose anchor is (:func:`in_ignore_region`), each cut to
        the image, so that what is unknown is unknown before and after the network has learnt to see it.
        """
        boxes = predictions.boxes[index].detach()
        # A cell whose corner lies beyond the image holds padding only.
        out = (predictions.cells[:, 0] >= size[1]) | (predictions.cells[:, 1] >= size[0])
        if len(truth):
            out = out | (box_iou(boxes, truth) > self.ignore_iou).any(dim=1)
        if regions is not None and len(regions):
            anchors = _centred_inside(predictions.anchor_boxes, size)
            for candidates in (boxes, anchors):
                inside = clip_boxes_to_image(candidates, size)
                out = out | in_ignore_region(inside, regions.to(boxes), self.ignore_iobb, self.ignore_iou)
        return out


def _shape_iou(sides: Tensor, anchors: Tensor) -> Tensor:
    """IoU ``[N, A]`` of boxes of given sides ``[N, 2]`` and anchors ``[A, 2]`` around one centre."""
    common = torch.minimum(sides[:, None], anchors).prod(dim=-1)
    return common / (sides.prod(dim=-1)[:, None] + anchors.prod(dim=-1) - common)


def _centred_inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes moved so that their centres lie in the image: those of a cell on its edge may not."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = torch.minimum(centre, boxes.new_tensor([size[1], size[0]]))
    return boxes + (inside - centre).repeat(1, 2)
