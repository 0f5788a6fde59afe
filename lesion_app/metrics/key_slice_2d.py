"""The 2D protocol of DeepLesion's key slices: every image by itself, no tracking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch

from lesion_app.boxes.overlap import paired_overlap
from lesion_app.metrics.flat_tracklets import check_known_volumes
from lesion_app.metrics.froc import FrocCurve, froc_curve
from lesion_app.metrics.joining import pairs_with_equal_keys

KEY_SLICE_FPS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""False positives per image at which MULAN and its successors report; the mean of the first four is their headline."""


def evaluate_key_slices(
    truth: Mapping[str, Any],
    detections: Mapping[str, Mapping[str, Any]],
    threshold: float = 0.5,
    kind: Literal["iou", "iobb"] = "iou",
) -> FrocCurve:
    """FROC per key slice (3DCE, MULAN, AlignShift, MVP-Net).

    A box hits every true box of its image with which its overlap is >= ``threshold``; a repeated hit is neither a true
    nor a false positive. ``sensitivity_at(KEY_SLICE_FPS)`` reads it with MULAN's interpolation; 3DCE's is
    ``sensitivity_at(KEY_SLICE_FPS, "lesion_harvester")``. ``n_volumes`` of the curve counts images.

    Args:
        truth: for every evaluated image, also those without lesions, its boxes ``[n, 4]`` px, half-open.
        detections: for each image ``{"boxes": [m, 4], "scores": [m]}`` on the same grid; an image may be missing.
        threshold: smallest overlap of a hit.
        kind: ``iou``, or ``iobb`` for intersection over the detected box.

    Raises:
        ValueError: when ``detections`` has an image that ``truth`` has not, or the shapes are wrong.
    """
    check_known_volumes(truth, detections)
    nothing: Mapping[str, Any] = {"boxes": (), "scores": ()}
    true_boxes = [_boxes(boxes) for boxes in truth.values()]
    found = [detections.get(image, nothing) for image in truth]
    found_boxes = [_boxes(image["boxes"]) for image in found]
    found_scores = [_floats(image["scores"]) for image in found]
    if any(len(boxes) != len(scores) or scores.ndim != 1 for boxes, scores in zip(found_boxes, found_scores)):
        raise ValueError("every image needs one score a detected box")
    true_table = torch.cat([torch.empty(0, 4, dtype=torch.float64), *true_boxes])
    table = torch.cat([torch.empty(0, 4, dtype=torch.float64), *found_boxes])
    images = np.arange(len(truth))
    detection, lesion = pairs_with_equal_keys(
        np.repeat(images, [len(boxes) for boxes in found_boxes]),
        np.repeat(images, [len(boxes) for boxes in true_boxes]),
    )
    hit = paired_overlap(table[detection], true_table[lesion], kind).numpy() >= threshold
    scores = torch.cat([torch.empty(0, dtype=torch.float64), *found_scores]).numpy()
    return froc_curve(scores, detection[hit], lesion[hit], len(true_table), len(truth), interpolation="lens")


def _floats(values: Any) -> torch.Tensor:
    return torch.as_tensor(values).detach().cpu().double()


def _boxes(values: Any) -> torch.Tensor:
    boxes = _floats(values)
    if boxes.numel() == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must be [N, 4], got {list(boxes.shape)}")
    return boxes
