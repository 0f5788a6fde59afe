"""True and detected boxes with types, image by image, as tables; and which detection meets which lesion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lesion_app.boxes.overlap import paired_overlap
from lesion_app.metrics.flat_tracklets import check_known_volumes
from lesion_app.metrics.joining import pairs_with_equal_keys


@dataclass(frozen=True, eq=False)
class TypedBoxes:
    """The boxes of all images in two tables: ``G`` true lesions and ``D`` detections.

    Args:
        n_images: number of images, also those without boxes.
        true_image, found_image: ``[G]``, ``[D]`` int64, number of the image.
        true_box, found_box: ``[G, 4]``, ``[D, 4]`` float64 ``(x1, y1, x2, y2)``, half-open, any one unit.
        true_label, found_label: ``[G]``, ``[D]`` int64, from 1.
        score: ``[D]`` float64.
    """

    n_images: int
    true_image: np.ndarray
    true_box: np.ndarray
    true_label: np.ndarray
    found_image: np.ndarray
    found_box: np.ndarray
    found_label: np.ndarray
    score: np.ndarray

    def scored_at_least(self, threshold: float) -> TypedBoxes:
        """The same with the detections of a score >= ``threshold`` alone.

        Compared as float32, the precision of a network's scores, so that 0.7 reaches 0.7.
        """
        keep = self.score.astype(np.float32) >= np.float32(threshold)
        return TypedBoxes(
            self.n_images,
            self.true_image,
            self.true_box,
            self.true_label,
            self.found_image[keep],
            self.found_box[keep],
            self.found_label[keep],
            self.score[keep],
        )

    def overlaps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """IoU of every pair of a detection and a lesion of its image: row of the detection, of the lesion, IoU [P]."""
        found, true = pairs_with_equal_keys(self.found_image, self.true_image)
        boxes, lesions = torch.from_numpy(self.found_box[found]), torch.from_numpy(self.true_box[true])
        return found, true, paired_overlap(boxes, lesions, "iou").numpy()


def typed_boxes(truth: Mapping[str, Mapping[str, Any]], detections: Mapping[str, Mapping[str, Any]]) -> TypedBoxes:
    """Collect boxes into tables.

    Args:
        truth: for every evaluated image, also those without lesions, ``{"boxes": [n, 4], "labels": [n]}``.
        detections: for each image ``{"boxes": [m, 4], "labels": [m], "scores": [m]}``; an image may be missing.

    Raises:
        ValueError: when ``detections`` has an image that ``truth`` has not, the shapes are wrong, a label is below 1 or
            a score is no number.
    """
    check_known_volumes(truth, detections)
    nothing: Mapping[str, Any] = {"boxes": (), "labels": (), "scores": ()}
    found = [detections.get(image, nothing) for image in truth]
    true_box, true_label, true_count = _collect(list(truth.values()))
    found_box, found_label, found_count = _collect(found)
    score = np.concatenate([np.empty(0), *(_array(image["scores"], np.float64).reshape(-1) for image in found)])
    if len(score) != len(found_box) or np.isnan(score).any():
        raise ValueError("every detection needs one score that is a number")
    images = np.arange(len(truth))
    return TypedBoxes(
        len(truth),
        np.repeat(images, true_count),
        true_box,
        true_label,
        np.repeat(images, found_count),
        found_box,
        found_label,
        score,
    )


def match(boxes: TypedBoxes, iou_threshold: float, same_label: bool) -> tuple[np.ndarray, np.ndarray]:
    """Give each lesion at most one detection, PASCAL VOC's way.

    Every detection points at the lesion of its image (and label) that it overlaps most, the first of equals. It hits if
    their IoU is > ``iou_threshold`` and no detection of a higher score (the first of equals) hits the same lesion.

    Args:
        boxes: see `TypedBoxes`.
        iou_threshold: what a hit must exceed.
        same_label: a detection looks at lesions of its own label only.

    Returns:
        ``[D]`` int64, row of the lesion a detection hits, -1 for none; ``[D]`` float64, its IoU with the lesion it
        points at, 0 where there is none.
    """
    found, true, iou = boxes.overlaps()
    if same_label:
        equal = boxes.found_label[found] == boxes.true_label[true]
        found, true, iou = found[equal], true[equal], iou[equal]
    best = np.zeros(len(boxes.score))
    np.maximum.at(best, found, iou)
    top = (iou == best[found]) & (iou > 0)
    lesion = np.full(len(boxes.score), len(boxes.true_box), dtype=np.int64)
    np.minimum.at(lesion, found[top], true[top])
    able = np.flatnonzero(best > iou_threshold)
    able = able[np.argsort(-boxes.score[able], kind="stable")]
    _, first = np.unique(lesion[able], return_index=True)
    hits = np.full(len(boxes.score), -1, dtype=np.int64)
    hits[able[first]] = lesion[able[first]]
    return hits, best


def _collect(images: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes ``[N, 4]`` and labels ``[N]`` of all images, and how many each has."""
    boxes, labels = [np.empty((0, 4))], [np.empty(0, dtype=np.int64)]
    for image in images:
        box, label = _array(image["boxes"], np.float64), _array(image["labels"], np.int64).reshape(-1)
        box = box.reshape(0, 4) if box.size == 0 else box
        if box.ndim != 2 or box.shape[1] != 4 or len(label) != len(box):
            raise ValueError(f"boxes must be [N, 4] with N labels, got {list(box.shape)} and {len(label)}")
        boxes.append(box)
        labels.append(label)
    table = np.concatenate(labels)
    if len(table) and table.min() < 1:
        raise ValueError(f"labels count from 1, got {table.min()}")
    return np.concatenate(boxes), table, np.array([len(label) for label in labels[1:]], dtype=np.int64)


def _array(values: Any, dtype: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=dtype)
