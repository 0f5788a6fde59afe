"""RoIAlign on the level of a pyramid that suits each box, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from lesion_app.networks.pyramid import DETECTION_LEVELS
from lesion_app.networks.resnet_nd import level_stride
from lesion_app.networks.roi_align_3d import roi_align_3d


def pool_boxes(
    features: Tensor, boxes: Sequence[Tensor], output_size: Sequence[int], stride: Sequence[int], sampling_ratio: int
) -> Tensor:
    """RoIAlign of one map, torchvision's in 2D and ours in 3D.

    Args:
        features: ``[B, C, (D,) H, W]``.
        boxes: B tensors ``[K, 2 * dim]``, px or voxels of the image.
        output_size: cells ((d,) h, w).
        stride: image voxels per feature voxel ((z,) y, x).
        sampling_ratio: points along each side of a cell.

    Returns:
        ``[sum of K, C, (d,) h, w]``.
    """
    # Neither kernel knows bfloat16 everywhere, and boxes need more digits than it has.
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    if features.ndim == 5:
        scale = [1.0 / s for s in stride]
        return roi_align_3d(features, boxes, output_size, scale, sampling_ratio, aligned=True)
    size = (output_size[0], output_size[1])
    boxes = [b.to(features.dtype) for b in boxes]
    return roi_align(features, list(boxes), size, 1.0 / stride[-1], sampling_ratio, aligned=True)


def pool_pyramid(
    maps: dict[int, Tensor],
    boxes: Sequence[Tensor],
    output_size: Sequence[int],
    level_sizes: Sequence[float],
    sampling_ratio: int,
) -> Tensor:
    """RoIAlign with each box read from one level of P2 to P5.

    Lin et al., "Feature pyramid networks", section 4.2, assign a level by the root of the area. Here it is the level
    whose anchors are nearest in size on a logarithmic scale, so that small anchors take the boxes with them.

    Args:
        maps: ``[B, C, (D,) H, W]`` by level.
        boxes: B tensors ``[K, 2 * dim]``, px or voxels of the image; may be empty.
        output_size: cells ((d,) h, w).
        level_sizes: side of the anchors of each level, px in plane.
        sampling_ratio: points along each side of a cell.

    Returns:
        ``[sum of K, C, (d,) h, w]`` in the order of the boxes.
    """
    first = maps[DETECTION_LEVELS[0]]
    dim = first.ndim - 2
    joined = torch.cat(list(boxes))
    levels = box_levels(joined, level_sizes)
    image = torch.repeat_interleave(
        torch.arange(len(boxes), device=joined.device), torch.tensor([len(b) for b in boxes], device=joined.device)
    )
    parts, places = [], []
    for number, level in enumerate(DETECTION_LEVELS):
        here = (levels == number).nonzero()[:, 0]
        of_image = [joined[here[image[here] == i]] for i in range(len(boxes))]
        parts.append(pool_boxes(maps[level], of_image, output_size, level_stride(level, dim), sampling_ratio))
        places.append(here)
    return torch.cat(parts)[torch.cat(places).argsort()]


def box_levels(boxes: Tensor, level_sizes: Sequence[float]) -> Tensor:
    """Number ``[N]`` of the level (0 = P2) whose size is nearest to the root of each box's area in plane."""
    dim = boxes.shape[1] // 2
    sides = (boxes[:, dim : dim + 2] - boxes[:, :2]).clamp(min=1e-3)
    size = sides.log().mean(dim=1, keepdim=True)
    return (size - torch.tensor(level_sizes, dtype=size.dtype, device=size.device).log()).abs().argmin(dim=1)
