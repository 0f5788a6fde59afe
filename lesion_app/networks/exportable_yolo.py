"""YOLOv4 with fixed shapes throughout, so that it can be exported: slab in, padded boxes out."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image, nms

from lesion_app.errors import InputError
from lesion_app.networks.exportable_detector import padded
from lesion_app.networks.yolov4 import MIN_SIDE_PX, SIZE_DIVISIBLE, YOLOv4, place_scores


class ExportableYOLO(nn.Module):
    """Evaluation of :class:`YOLOv4` on one slab of one size; what is found is the same.

    Args:
        network: copied; in evaluation mode and float32 from here on.
        size: (H, W) px of the slabs, multiples of 32.

    Raises:
        ValueError: for another size.
        InputError: for a network with DIoU NMS, which runtimes do not have.
    """

    def __init__(self, network: YOLOv4, size: tuple[int, int]) -> None:
        super().__init__()
        if min(size) < SIZE_DIVISIBLE or size[0] % SIZE_DIVISIBLE or size[1] % SIZE_DIVISIBLE:
            raise ValueError(f"height and width must be multiples of {SIZE_DIVISIBLE}, got {size[0]} x {size[1]}")
        if network.nms != "greedy":
            raise InputError(
                f"a YOLOv4 with nms '{network.nms}' cannot be exported, since runtimes know greedy NMS only; set nms "
                "to greedy"
            )
        self.network = copy.deepcopy(network).eval().float().requires_grad_(False)
        self.size = size

    def forward(self, slab: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detections of ``slab`` ``[S, H, W]`` scaled to [0, 255].

        Returns:
            boxes ``[D, 4]`` px, scores ``[D]`` falling, labels ``[D]`` int64, D = ``detections_per_image``. Rows with
            score 0 are padding.
        """
        network = self.network
        predictions = network.predict(slab[None])
        boxes = clip_boxes_to_image(predictions.boxes[0], self.size)
        scores = place_scores(predictions, 0)
        side = boxes[:, 2:] - boxes[:, :2]
        good = (scores > network.score_threshold) & (side >= MIN_SIDE_PX).all(dim=1)[:, None]
        scores = torch.where(good, scores, 0.0).flatten()
        top = min(network.pre_nms_top_n, scores.shape[0])
        scores, index = scores.topk(top)
        boxes = boxes[index // network.num_classes]
        labels = index % network.num_classes + 1
        # Classes far apart do not suppress each other; what scores 0 comes last and suppresses nothing that counts.
        apart = boxes + (labels * (2 * max(self.size)))[:, None].to(boxes)
        chosen = padded(nms(apart, scores, network.nms_iou), network.detections_per_image, top)
        kept = chosen.clamp(max=top - 1)
        return boxes[kept], torch.where(chosen < top, scores[kept], 0.0), labels[kept]
