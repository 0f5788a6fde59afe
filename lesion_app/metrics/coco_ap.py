"""COCO's average precision of typed boxes, by MONAI's port of COCO's own program."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.apps.detection.metrics.coco import COCOMetric
from monai.apps.detection.metrics.matching import matching_batch

from lesion_app.boxes.overlap import box_iou
from lesion_app.metrics.typed_boxes import TypedBoxes


def coco_ap(
    boxes: TypedBoxes,
    iou_list: Sequence[float] = (0.5, 0.75),
    iou_range: Sequence[float] = (0.5, 0.95, 0.05),
    max_detections: int = 100,
) -> dict[str, float]:
    """Mean average precision over the types that have lesions, at COCO's thresholds.

    Args:
        boxes: see `TypedBoxes`.
        iou_list: IoU thresholds reported one by one; Pianese's Table 5 has 0.5 and 0.75.
        iou_range: first, last and step of those whose mean is COCO's mAP.
        max_detections: of an image and type, those of highest score.

    Returns:
        ``mAP`` over the range, ``AP50``, ``AP75`` ... for the list, ``AR`` the highest recall over the range; NaN
        throughout without a lesion. Types without lesions do not count (MONAI would count them as -1).
    """
    names = ["mAP", *(f"AP{round(100 * iou)}" for iou in iou_list), "AR"]
    types = np.unique(boxes.true_label)
    if not len(types):
        return dict.fromkeys(names, float("nan"))
    metric = COCOMetric(
        classes=[str(label) for label in types],
        iou_list=tuple(iou_list),
        iou_range=tuple(iou_range),
        max_detection=(max_detections,),
        per_class=False,
        verbose=False,
    )
    known = np.isin(boxes.found_label, types)
    found_in = _rows_of_images(np.where(known, boxes.found_image, boxes.n_images), boxes.n_images)
    true_in = _rows_of_images(boxes.true_image, boxes.n_images)
    results = matching_batch(
        iou_fn=lambda a, b: box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy(),
        iou_thresholds=metric.get_iou_thresholds(),
        pred_boxes=[boxes.found_box[rows] for rows in found_in],
        # MONAI takes the label for an index into its list of classes.
        pred_classes=[np.searchsorted(types, boxes.found_label[rows]) for rows in found_in],
        pred_scores=[boxes.score[rows] for rows in found_in],
        gt_boxes=[boxes.true_box[rows] for rows in true_in],
        gt_classes=[np.searchsorted(types, boxes.true_label[rows]) for rows in true_in],
        max_detections=max_detections,
    )
    found = metric(results)[0]
    low, high, step = iou_range
    suffix = f"MaxDet_{max_detections}"
    keys = [f"mAP_IoU_{low:.2f}_{high:.2f}_{step:.2f}_{suffix}"]
    keys += [f"AP_IoU_{iou:.2f}_{suffix}" for iou in iou_list]
    keys += [f"mAR_IoU_{low:.2f}_{high:.2f}_{step:.2f}_{suffix}"]
    return {name: float(found[key]) for name, key in zip(names, keys)}


def _rows_of_images(image: np.ndarray, n_images: int) -> list[np.ndarray]:
    """Rows of a table that belong to each image, in order."""
    order = np.argsort(image, kind="stable")
    return np.split(order, np.searchsorted(image[order], np.arange(1, n_images + 1)))[:n_images]
