"""The validation metric of the multi-class benchmark: key slices, eight types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from torch import Tensor

from lesion_app.boxes.overlap import box_iou, lie_in
from lesion_app.data.lesion_types import LESION_TYPES
from lesion_app.metrics.by_size import SIZE_EDGES_MM, long_side_mm
from lesion_app.metrics.coco_ap import coco_ap
from lesion_app.metrics.confusion_matrix import confusion_matrix
from lesion_app.metrics.eleven_point_ap import PAPER_IOU, eleven_point_ap
from lesion_app.metrics.froc import FrocCurve
from lesion_app.metrics.typed_boxes import typed_boxes
from lesion_app.metrics.typed_detection import localisation, sensitivity_table, size_ratio_table, typed_froc
from lesion_app.metrics.whole_epoch import whole_epoch

_Image = tuple[dict[str, Tensor], dict[str, Tensor], list[float]]
_REPORTED = ("map11", "mean_iou", "coco_map", "ap50", "ap75", "missed_share")


class TypedDetectionMetric(Metric):
    """Pianese's mAP over the key slices of an epoch, with everything else of the benchmark beside it.

    ``update`` takes ``(pred, target)``: ``pred`` has one dict an image, ``{"boxes", "scores", "labels"}``, ``target``
    one item an image as `prepare_slab_batch` leaves it: ``{"id", "slice", "boxes", "labels", "spacing_mm", "ignore"
    (optional), "view" (optional)}``. All boxes are px of the network's image, half-open, and mapped back to the
    original slice by ``view``; ``spacing_mm`` is the original one. A detection of which ``ignore_iobb`` lies in an
    ignored region counts for nothing unless it hits a lesion. In a distributed run every process gets the result over
    all images.

    At the end of the epoch ``engine.state.metrics`` holds, beside the mAP under the metric's own name, ``<prefix>map11,
    <prefix>mean_iou, <prefix>coco_map, <prefix>ap50, <prefix>ap75`` and ``<prefix>missed_share``; ``summary`` holds all
    figures as plain numbers, ``confusion`` the matrix and ``curve`` the FROC of all types.

    Args:
        output_transform: from ``engine.state.output`` to ``(pred, target)``.
        prefix: of the names, e.g. ``"val_"``.
        class_names: of labels 1, 2, ...
        iou_threshold: what a hit must exceed (the paper: 0.21); COCO's figures have their own.
        score_threshold: lowest score of a detection in confusion matrix, mean IoU, false negatives and size ratios.
        false_positives: per image, where sensitivity is read.
        ignore_iobb: share of a detection's area.
        size_edges_mm: borders of the sizes, long side of the lesion.
        box_padding_px: margin of the true boxes around the lesion, taken off before measuring sizes; DeepLesion's 5.
        device: Ignite's; the metric itself works on the CPU.

    Raises:
        ValueError: from ``update`` when the two sides differ in length or an image comes twice in an epoch; from
            ``compute`` when two processes saw the same image.
        ignite.exceptions.NotComputableError: from ``compute`` without any image.
    """

    def __init__(
        self,
        output_transform: Callable = lambda output: output,
        prefix: str = "",
        class_names: Sequence[str] = LESION_TYPES,
        iou_threshold: float = PAPER_IOU,
        score_threshold: float = 0.25,
        false_positives: Sequence[float] = (0.5, 1.0, 2.0, 4.0),
        ignore_iobb: float = 0.5,
        size_edges_mm: Sequence[float] = SIZE_EDGES_MM,
        box_padding_px: float = 5.0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.prefix = prefix
        self.class_names = tuple(class_names)
        self.iou_threshold = iou_threshold
        self.score_threshold = score_threshold
        self.false_positives = tuple(false_positives)
        self.ignore_iobb = ignore_iobb
        self.size_edges_mm = tuple(size_edges_mm)
        self.box_padding_px = box_padding_px
        self.summary: dict[str, Any] = {}
        self.confusion: np.ndarray | None = None
        self.curve: FrocCurve | None = None
        self._images: dict[str, _Image] = {}
        # A batch is lists of dicts, which Ignite would otherwise take for tensors to be fed one by one.
        super().__init__(output_transform, device=device, skip_unrolling=True)

    def reset(self) -> None:
        """Forget the images of the epoch; the results stay until the next ones."""
        self._images = {}

    def update(self, output: tuple[Sequence[Mapping[str, Tensor]], Sequence[Mapping[str, Any]]]) -> None:
        """Take in the images of a batch."""
        pred, target = output
        if len(pred) != len(target):
            raise ValueError(f"predictions for {len(pred)} images came with {len(target)} targets")
        for found, item in zip(pred, target):
            name = f"{item['id']}/{item['slice']}"
            if name in self._images:
                raise ValueError(f"image {name!r} was evaluated twice in one epoch; ids and slices must be unique")
            self._images[name] = self._image(found, item)

    def compute(self) -> float:
        """Pianese's mAP over the images of all processes."""
        images = whole_epoch(self._images, type(self).__name__, "image")
        names = list(images)
        classes = len(self.class_names)
        boxes = typed_boxes({n: images[n][0] for n in names}, {n: images[n][1] for n in names})
        sizes = [long_side_mm(images[n][0]["boxes"].numpy(), images[n][2], self.box_padding_px) for n in names]
        points = eleven_point_ap(boxes, classes, self.iou_threshold)
        located = localisation(boxes, self.score_threshold, self.iou_threshold)
        coco = coco_ap(boxes)
        self.curve = typed_froc(boxes, self.iou_threshold)
        self.confusion = confusion_matrix(boxes, classes, self.score_threshold, self.iou_threshold)
        sensitivity = sensitivity_table(
            boxes, classes, np.concatenate(sizes), self.false_positives, self.iou_threshold, self.size_edges_mm
        )
        ratios = size_ratio_table(boxes, self.score_threshold)
        self.summary = {
            "images": boxes.n_images,
            "lesions": len(boxes.true_box),
            "iou_threshold": self.iou_threshold,
            "score_threshold": self.score_threshold,
            "map11": points.mean,
            "coco_map": coco["mAP"],
            "ap50": coco["AP50"],
            "ap75": coco["AP75"],
            **asdict(located),
            "size_ratio": {name: asdict(row) for name, row in ratios.items()},
            "false_positives": list(self.false_positives),
            "sensitivity": sensitivity["all"],
            "by_type": {
                name: {"average_precision": float(points.average_precision[i]), **sensitivity["by_type"][str(i + 1)]}
                for i, name in enumerate(self.class_names)
            },
            "by_size": sensitivity["by_size"],
            "confusion": self.confusion.tolist(),
        }
        return points.mean

    def completed(self, engine: Engine, name: str) -> None:
        """Write the results to ``engine.state.metrics``."""
        super().completed(engine, name)
        for figure in _REPORTED:
            engine.state.metrics[f"{self.prefix}{figure}"] = float(self.summary[figure])

    def _image(self, found: Mapping[str, Tensor], item: Mapping[str, Any]) -> _Image:
        boxes, labels, scores = (found[key].detach().cpu() for key in ("boxes", "labels", "scores"))
        true, ignored = _table(item["boxes"]), _table(item.get("ignore", ()))
        boxes = _table(boxes)
        if len(ignored) and len(boxes):
            hidden = lie_in(boxes, ignored, self.ignore_iobb)
            if len(true):
                hidden &= (box_iou(boxes, true) <= self.iou_threshold).all(dim=1)
            boxes, labels, scores = boxes[~hidden], labels[~hidden], scores[~hidden]
        if "view" in item:
            true, boxes = item["view"].invert(true), item["view"].invert(boxes)
        spacing = [float(mm) for mm in item["spacing_mm"]]
        return (
            {"boxes": true, "labels": torch.as_tensor(item["labels"]).cpu()},
            {"boxes": boxes, "labels": labels, "scores": scores},
            spacing,
        )


def _table(boxes: Any) -> Tensor:
    return torch.as_tensor(boxes).detach().cpu().double().reshape(-1, 4)
