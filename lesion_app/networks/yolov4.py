"""YOLOv4 on slabs of one or a few slices: the single-pass detector of the benchmark.

I/O (torchvision's protocol): ``model(slabs, targets)`` with ``slabs`` a list of float ``[S, H, W]`` slabs scaled to
[0, 255], sizes may differ; ``targets`` a list of ``{boxes [N, 4] float px, labels [N] int64 from 1, ignore [M, 4]
(optional), weights [N] (optional)}``. Training returns a dict of losses, evaluation a list of ``{boxes [K, 4], scores
[K], labels [K]}`` in px of the slab, by falling score. An image without boxes is valid.

Written from YOLOv4 (Bochkovskiy et al., arXiv 2004.10934) and the behaviour of the authors' public-domain Darknet with
``yolov4.cfg``, whose weights it loads (:mod:`lesion_app.networks.darknet_weights`). Sources of the numbers:
``docs/yolov4.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image

from lesion_app.boxes.diou_nms import diou_nms
from lesion_app.networks.csp_darknet import CSPDarknet53, scaled
from lesion_app.networks.faster_rcnn_25d import check_targets
from lesion_app.networks.slab_batch import slab_batch
from lesion_app.networks.yolo_head import Predictions, YOLOHead, decode_heads
from lesion_app.networks.yolo_loss import YOLOLoss
from lesion_app.networks.yolo_neck import YOLONeck

NMSKind = Literal["greedy", "diou"]
SIZE_DIVISIBLE = 32
COCO_ANCHORS = ((12, 16), (19, 36), (40, 28), (36, 75), (76, 55), (72, 146), (142, 110), (192, 243), (459, 401))
_GRID_SENSITIVITY = {4: 1.2, 8: 1.2, 16: 1.1, 32: 1.05}
_NECK_CHANNELS = 512
MIN_SIDE_PX = 1e-2


class YOLOv4(nn.Module):
    """YOLOv4: CSPDarknet53, pyramid pooling, path aggregation and one head a stride.

    Args:
        num_classes: foreground classes (1 = universal lesion).
        num_slices: slices of a slab: 1, shown to all three input channels, or an odd multiple of 3, one channel each
            (3 = the key slice between its neighbours).
        anchors: (width, height) px, as many a head, those of the finest head first (``lesion-app anchors`` finds them).
        strides: of the heads, rising: (8, 16, 32) = published; (4, 16, 32) = Darknet's change for objects below 16 px,
            which the benchmark paper used; (4, 8, 16, 32) = a fourth head.
        width, depth: factors on channels and residual blocks, for small networks; 1 = published.
        scale_x_y: grid sensitivity of each head; None = published (1.2, 1.1, 1.05 for strides 8, 16, 32; 1.2 for 4).
        objectness_prior: see :class:`lesion_app.networks.yolo_head.YOLOHead`.
        norm_momentum: share of a new batch in BatchNorm's running statistics (Darknet: 0.01).
        ignore_iou, anchor_iou, box_weight, objectness_weight, class_weight, ignore_iobb: see
            :class:`lesion_app.networks.yolo_loss.YOLOLoss`.
        score_threshold: lowest score reported.
        pre_nms_top_n: best-scored boxes that enter NMS, over all classes.
        nms: ``greedy``, or ``diou`` (YOLOv4, section 3.4; :func:`lesion_app.boxes.diou_nms.diou_nms`).
        nms_iou: threshold of NMS, within a class.
        diou_beta: exponent of ``diou``.
        detections_per_image: most boxes reported.

    Raises:
        ValueError: for values that do not fit together.
    """

    def __init__(
        self,
        num_classes: int = 1,
        num_slices: int = 3,
        anchors: Sequence[Sequence[float]] = COCO_ANCHORS,
        strides: Sequence[int] = (8, 16, 32),
        width: float = 1.0,
        depth: float = 1.0,
        scale_x_y: Sequence[float] | None = None,
        objectness_prior: float = 0.01,
        norm_momentum: float = 0.1,
        ignore_iou: float = 0.7,
        anchor_iou: float = 0.213,
        box_weight: float = 3.0,
        objectness_weight: float = 1.0,
        class_weight: float = 1.0,
        ignore_iobb: float = 0.5,
        score_threshold: float = 0.01,
        pre_nms_top_n: int = 1000,
        nms: NMSKind = "greedy",
        nms_iou: float = 0.45,
        diou_beta: float = 0.6,
        detections_per_image: int = 50,
    ) -> None:
        super().__init__()
        _check(num_classes, num_slices, anchors, strides, scale_x_y, objectness_prior, nms)
        self.num_classes, self.num_slices = num_classes, num_slices
        self.strides, self.width, self.depth = tuple(strides), width, depth
        per_head = len(anchors) // len(strides)
        by_head = [[tuple(a) for a in anchors[i : i + per_head]] for i in range(0, len(anchors), per_head)]
        scales = scale_x_y or [_GRID_SENSITIVITY[s] for s in strides]
        self.backbone = CSPDarknet53(max(3, num_slices), width, depth, norm_momentum)
        self.neck = YOLONeck(self.backbone.out_channels, strides, scaled(_NECK_CHANNELS, width), norm_momentum)
        self.heads = nn.ModuleList(
            YOLOHead(channels, num_classes, a, stride, s, objectness_prior, norm_momentum)
            for channels, a, stride, s in zip(self.neck.out_channels, by_head, strides, scales)
        )
        self.loss = YOLOLoss(
            by_head, strides, ignore_iou, anchor_iou, box_weight, objectness_weight, class_weight, ignore_iobb
        )
        self.score_threshold, self.pre_nms_top_n = score_threshold, pre_nms_top_n
        self.nms, self.nms_iou, self.diou_beta = nms, nms_iou, diou_beta
        self.detections_per_image = detections_per_image

    def forward(
        self, slabs: list[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training mode, detections in evaluation mode (see the module's docstring).

        Raises:
            ValueError: for slabs of another number of slices; in training, for targets that are missing or malformed.
        """
        if self.training:
            check_targets(slabs, targets)
            self._check_labels(targets or [])
        sizes = [(int(s.shape[-2]), int(s.shape[-1])) for s in slabs]
        predictions = self.predict(self._batch(slabs))
        if self.training:
            return self.loss(predictions, targets or [], sizes)
        return [self._detect(predictions, i, size) for i, size in enumerate(sizes)]

    def predict(self, batch: Tensor) -> Predictions:
        """Everything the heads say about slabs ``[B, S, H, W]`` scaled to [0, 255], H and W multiples of 32."""
        image = batch / 255.0
        if self.num_slices == 1:
            image = image.expand(-1, 3, -1, -1)
        return decode_heads(list(self.heads), self.neck(self.backbone(image)))  # type: ignore[arg-type]

    def _batch(self, slabs: list[Tensor]) -> Tensor:
        wrong = [s.shape[0] for s in slabs if s.shape[0] != self.num_slices]
        if wrong:
            raise ValueError(f"a slab of {wrong[0]} slices came to a network of {self.num_slices}")
        # BatchNorm cannot learn from a map of one value.
        least = 2 * SIZE_DIVISIBLE if self.training else SIZE_DIVISIBLE
        return slab_batch(slabs, SIZE_DIVISIBLE, least)

    def _detect(self, predictions: Predictions, index: int, size: tuple[int, int]) -> dict[str, Tensor]:
        boxes = clip_boxes_to_image(predictions.boxes[index], size)
        scores = place_scores(predictions, index)
        side = boxes[:, 2:] - boxes[:, :2]
        padding = (predictions.cells[:, 0] >= size[1]) | (predictions.cells[:, 1] >= size[0])
        good = (scores > self.score_threshold) & ((side >= MIN_SIDE_PX).all(dim=1) & ~padding)[:, None]
        place, label = good.nonzero().unbind(dim=1)
        scores = scores[place, label]
        best = scores.topk(min(self.pre_nms_top_n, len(scores))).indices
        boxes, scores, labels = boxes[place[best]], scores[best], label[best] + 1
        if self.nms == "diou":
            kept = diou_nms(boxes, scores, labels, self.nms_iou, self.diou_beta)
        else:
            kept = batched_nms(boxes, scores, labels, self.nms_iou)
        kept = kept[: self.detections_per_image]
        return {"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept]}

    def _check_labels(self, targets: Sequence[dict[str, Tensor]]) -> None:
        for i, target in enumerate(targets):
            labels = target["labels"]
            if labels.numel() and not 1 <= int(labels.min()) <= int(labels.max()) <= self.num_classes:
                raise ValueError(
                    f"labels of target {i} go from {int(labels.min())} to {int(labels.max())}, the network knows "
                    f"1 to {self.num_classes}"
                )


def place_scores(predictions: Predictions, index: int) -> Tensor:
    """Scores ``[P, C]`` of one image: objectness times the probability of each class."""
    return predictions.objectness[index].sigmoid()[:, None] * predictions.classes[index].sigmoid()


def _check(
    num_classes: int,
    num_slices: int,
    anchors: Sequence[Sequence[float]],
    strides: Sequence[int],
    scale_x_y: Sequence[float] | None,
    objectness_prior: float,
    nms: str,
) -> None:
    if num_classes < 1:
        raise ValueError(f"num_classes must be positive, got {num_classes}")
    if num_slices != 1 and num_slices % 6 != 3:
        raise ValueError(f"num_slices must be 1 or an odd multiple of 3, got {num_slices}")
    ratios = [deep / shallow for shallow, deep in pairwise(strides)]
    if any(s not in _GRID_SENSITIVITY for s in strides) or strides[-1] != 32 or any(r not in (2, 4) for r in ratios):
        raise ValueError(f"strides must rise from 4 or more to 32, each 2 or 4 times the last, got {list(strides)}")
    if not anchors or len(anchors) % len(strides) or any(len(a) != 2 or min(a) <= 0 for a in anchors):
        raise ValueError(
            f"anchors must be pairs (width, height) of positive px, as many for each of the {len(strides)} heads, got "
            f"{[list(a) for a in anchors]}"
        )
    if scale_x_y is not None and len(scale_x_y) != len(strides):
        raise ValueError(f"scale_x_y must hold one factor for each of the {len(strides)} heads, got {len(scale_x_y)}")
    if not 0 < objectness_prior < 1:
        raise ValueError(f"objectness_prior must lie between 0 and 1, got {objectness_prior}")
    if nms not in get_args(NMSKind):
        raise ValueError(f"nms must be one of {', '.join(get_args(NMSKind))}, got {nms!r}")
