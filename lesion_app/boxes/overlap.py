"""How much boxes cover each other: IoU and its one-sided kin, in 2D and 3D.

All boxes are half-open, so a side is ``x2 - x1`` long. DeepLesion's papers count inclusive 1-based pixels and write
``x2 - x1 + 1``; once a reader has turned ``(x1, y1, x2, y2)`` into ``(x1 - 1, y1 - 1, x2, y2)`` both give the same
number, and no function here needs a second convention.

Non-maximum suppression is ``torchvision.ops.nms`` and ``torchvision.ops.batched_nms``; nothing is added to them.
"""

from __future__ import annotations

from functools import reduce
from typing import Literal, get_args

import torch
import torchvision
from torch import Tensor

OverlapKind = Literal["iou", "iobb", "iogt", "iobbgt"]
"""``iou`` over the union, ``iobb`` over the first (detected) box, ``iogt`` over the second (true) box, ``iobbgt`` the
larger of the last two (LENS, ``general_detection_evaluation.py``)."""


def box_iou(boxes: Tensor, regions: Tensor) -> Tensor:
    """Intersection over union of every box with every region.

    ``torchvision.ops.box_iou``, made safe for boxes without area: those (also inverted ones) overlap nothing.

    Args:
        boxes: ``[N, 4]`` float ``(x1, y1, x2, y2)``, half-open, any one unit.
        regions: ``[M, 4]``, likewise.

    Returns:
        ``[N, M]``, 0..1, never NaN.

    Raises:
        ValueError: when an argument is not ``[*, 4]``.
    """
    _check("boxes", boxes, 4)
    _check("regions", regions, 4)
    if not boxes.is_floating_point() or not regions.is_floating_point():
        boxes, regions = boxes.double(), regions.double()
    return torch.nan_to_num(torchvision.ops.box_iou(_without_negative_sides(boxes), _without_negative_sides(regions)))


def box_iobb(boxes: Tensor, regions: Tensor) -> Tensor:
    """Share of every box that each region covers (intersection over the box, also called IoF).

    Args:
        boxes: ``[N, 4]`` float ``(x1, y1, x2, y2)``, half-open, any one unit.
        regions: ``[M, 4]``, likewise.

    Returns:
        ``[N, M]``, 0..1; 0 for a box without area.

    Raises:
        ValueError: when an argument is not ``[*, 4]``.
    """
    _check("boxes", boxes, 4)
    _check("regions", regions, 4)
    return _overlap(boxes[:, None], regions[None], "iobb")


def lie_in(boxes: Tensor, regions: Tensor, share: float) -> Tensor:
    """Tell which boxes have at least ``share`` (0..1) of their area in one of the regions.

    Args:
        boxes: ``[N, 4]`` float ``(x1, y1, x2, y2)``, half-open, any one unit.
        regions: ``[M, 4]``, likewise, of any type and on any device; M may be 0.

    Returns:
        bool ``[N]``.
    """
    return (box_iobb(boxes, regions.to(boxes)) >= share).any(dim=1)


def box_overlap_3d(boxes: Tensor, regions: Tensor, kind: OverlapKind = "iou") -> Tensor:
    """Overlap of every 3D box with every 3D region, in the measure ``kind``.

    Args:
        boxes: ``[N, 6]`` ``(x1, y1, z1, x2, y2, z2)``, half-open, voxels or mm; the detected ones.
        regions: ``[M, 6]``, likewise; the true ones.
        kind: which volume divides the intersection, see ``OverlapKind``.

    Returns:
        ``[N, M]``, 0..1; 0 where the dividing volume is 0.

    Raises:
        ValueError: when an argument is not ``[*, 6]`` or ``kind`` is unknown.
    """
    _check("boxes", boxes, 6)
    _check("regions", regions, 6)
    return _overlap(boxes[:, None], regions[None], kind)


def paired_overlap(boxes: Tensor, regions: Tensor, kind: OverlapKind = "iou") -> Tensor:
    """Overlap of each box with the region of the same row: the diagonal of the matrix functions.

    Args:
        boxes: ``[N, 4]`` or ``[N, 6]``, all minima before all maxima, half-open.
        regions: same shape.
        kind: see ``OverlapKind``.

    Returns:
        ``[N]``, 0..1.

    Raises:
        ValueError: when the shapes differ, are neither 2D nor 3D boxes, or ``kind`` is unknown.
    """
    if boxes.shape != regions.shape or boxes.ndim != 2 or boxes.shape[1] not in (4, 6):
        raise ValueError(f"paired boxes must both be [N, 4] or [N, 6], got {list(boxes.shape)}, {list(regions.shape)}")
    return _overlap(boxes, regions, kind)


def _overlap(a: Tensor, b: Tensor, kind: OverlapKind) -> Tensor:
    if kind not in get_args(OverlapKind):
        raise ValueError(f"unknown overlap {kind!r}, expected one of {', '.join(get_args(OverlapKind))}")
    a, b = _as_float(a), _as_float(b)
    n = a.shape[-1] // 2
    intersection = _volume(torch.minimum(a[..., n:], b[..., n:]) - torch.maximum(a[..., :n], b[..., :n]))
    size_a = _volume(a[..., n:] - a[..., :n])
    size_b = _volume(b[..., n:] - b[..., :n])
    if kind == "iou":
        return _ratio(intersection, size_a + size_b - intersection)
    if kind == "iobb":
        return _ratio(intersection, size_a)
    if kind == "iogt":
        return _ratio(intersection, size_b)
    return torch.maximum(_ratio(intersection, size_a), _ratio(intersection, size_b))


def _volume(sides: Tensor) -> Tensor:
    # Multiplying two or three columns; torch's prod over so short an axis takes several times longer.
    first, *others = sides.clamp(min=0).unbind(-1)
    return reduce(torch.mul, others, first)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    # Where the whole is 0 the part is 0 too, so any divisor but 0 gives the 0 wanted.
    return part / torch.where(whole > 0, whole, torch.ones_like(whole))


def _as_float(boxes: Tensor) -> Tensor:
    # The volume of an integer box can exceed what float32 counts exactly; half precision cannot even hold areas.
    if not boxes.is_floating_point():
        return boxes.double()
    return boxes.float() if boxes.dtype in (torch.float16, torch.bfloat16) else boxes


def _without_negative_sides(boxes: Tensor) -> Tensor:
    return torch.cat([boxes[:, :2], torch.maximum(boxes[:, :2], boxes[:, 2:])], dim=1)


def _check(name: str, boxes: Tensor, columns: int) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != columns:
        raise ValueError(f"{name} must be [N, {columns}], got {list(boxes.shape)}")
