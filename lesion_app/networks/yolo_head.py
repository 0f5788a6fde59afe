"""YOLO's heads: what a cell of a map says about the boxes whose centre lies in it.

Coordinates (YOLOv3, arXiv 1804.02767, section 2.1, with YOLOv4's grid sensitivity, arXiv 2004.10934, section 3.4,
"Eliminate grid sensitivity"): with the cell's column and row c, the anchor's sides p and a factor s > 1,

    centre = stride (c + s sigmoid(t) - (s - 1) / 2),   side = p exp(t)

so that a centre on the edge of a cell is within the sigmoid's reach. A score is objectness times class probability;
classes do not exclude each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lesion_app.networks.csp_darknet import DarknetConv

# No box is more than 62.5 times longer or shorter than its anchor (torchvision's box coder has the same bound): the
# exponential neither overflows nor gives sides that rounding makes 0.
_SIDE_LIMIT = math.log(1000.0 / 16)
_PER_BOX = 5  # x, y, width, height, objectness


@dataclass(frozen=True)
class Predictions:
    """What the heads say about a batch, all places of all heads in one row, float32 or wider.

    Places are ordered by head, row, column and anchor.

    Args:
        boxes: ``[B, P, 4]`` (x1, y1, x2, y2) px of the padded batch, not clipped.
        objectness: ``[B, P]`` logits.
        classes: ``[B, P, C]`` logits.
        anchor_boxes: ``[P, 4]`` px, the anchor around the middle of its cell.
        cells: ``[P, 4]`` px, the cell itself.
        grids: rows and columns of each head's map.
    """

    boxes: Tensor
    objectness: Tensor
    classes: Tensor
    anchor_boxes: Tensor
    cells: Tensor
    grids: tuple[tuple[int, int], ...]


class YOLOHead(nn.Module):
    """One head: a 3x3 convolution, and a 1x1 one with ``anchors * (5 + classes)`` results (Darknet's ``filters``).

    Args:
        in_channels: of the neck's map.
        num_classes: foreground classes.
        anchors: (width, height) px.
        stride: of the map.
        scale_x_y: the factor s above; 1 = YOLOv3.
        objectness_prior: objectness an untrained head gives every place, so that the flood of background does not
            swamp the first steps (RetinaNet, section 3.3); 0.5 = Darknet, whose learning rate rises slowly instead.
        norm_momentum: see :class:`lesion_app.networks.csp_darknet.DarknetConv`.
    """

    anchors: Tensor

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        anchors: Sequence[Sequence[float]],
        stride: int,
        scale_x_y: float,
        objectness_prior: float,
        norm_momentum: float,
    ) -> None:
        super().__init__()
        self.stride, self.scale_x_y = stride, scale_x_y
        self.register_buffer("anchors", torch.tensor(anchors, dtype=torch.float32), persistent=False)
        self.hidden = DarknetConv(in_channels, 2 * in_channels, 3, norm_momentum=norm_momentum)
        self.out = nn.Conv2d(2 * in_channels, len(anchors) * (_PER_BOX + num_classes), kernel_size=1)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        bias = self.out.bias.data.view(len(anchors), -1)  # type: ignore[union-attr]
        bias[:, _PER_BOX - 1] = math.log(objectness_prior / (1 - objectness_prior))

    def forward(self, map_: Tensor) -> Tensor:
        """``[B, in_channels, h, w]`` -> ``[B, h, w, A, 5 + C]`` raw values x, y, width, height, objectness, classes."""
        raw = self.out(self.hidden(map_))
        if raw.dtype in (torch.float16, torch.bfloat16):
            raw = raw.float()
        return raw.unflatten(1, (len(self.anchors), -1)).permute(0, 3, 4, 1, 2)

    def decode(self, raw: Tensor) -> Tensor:
        """Boxes ``[B, h, w, A, 4]`` px of the padded batch, of what ``forward`` gave."""
        corner = self.corners(raw.shape[1], raw.shape[2])
        s = self.scale_x_y
        centre = corner[:, :, None] + self.stride * (s * raw[..., :2].sigmoid() - (s - 1) / 2)
        half = self.anchors * raw[..., 2:4].clamp(-_SIDE_LIMIT, _SIDE_LIMIT).exp() / 2
        return torch.cat((centre - half, centre + half), dim=-1)

    def corners(self, rows: int, columns: int) -> Tensor:
        """Upper left corner (x, y) px of every cell of a map: ``[rows, columns, 2]``."""
        along = [torch.arange(n, device=self.anchors.device, dtype=self.anchors.dtype) for n in (rows, columns)]
        y, x = torch.meshgrid(*along, indexing="ij")
        return torch.stack((x, y), dim=-1) * self.stride


def decode_heads(heads: Sequence[YOLOHead], maps: Sequence[Tensor]) -> Predictions:
    """Predictions of all heads on the neck's maps."""
    boxes, objectness, classes, anchor_boxes, cells, grids = [], [], [], [], [], []
    for head, map_ in zip(heads, maps):
        raw = head(map_)
        boxes.append(head.decode(raw).flatten(1, 3))
        objectness.append(raw[..., _PER_BOX - 1].flatten(1))
        classes.append(raw[..., _PER_BOX:].flatten(1, 3))
        corner = head.corners(raw.shape[1], raw.shape[2])[:, :, None].expand(-1, -1, len(head.anchors), -1)
        middle = corner + head.stride / 2
        anchor_boxes.append(torch.cat((middle - head.anchors / 2, middle + head.anchors / 2), dim=-1).flatten(0, 2))
        cells.append(torch.cat((corner, corner + head.stride), dim=-1).flatten(0, 2))
        grids.append((raw.shape[1], raw.shape[2]))
    return Predictions(
        torch.cat(boxes, dim=1),
        torch.cat(objectness, dim=1),
        torch.cat(classes, dim=1),
        torch.cat(anchor_boxes),
        torch.cat(cells),
        tuple(grids),
    )
