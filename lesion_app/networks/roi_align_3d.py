"""RoIAlign in three dimensions, which torchvision has for images only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

# Interpolation weights held at a time (64 MiB as float32): many boxes are pooled in parts.
_WEIGHTS_AT_ONCE = 2**24


def roi_align_3d(
    features: Tensor,
    boxes: Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float | Sequence[float] = 1.0,
    sampling_ratio: int = 2,
    aligned: bool = True,
) -> Tensor:
    """Average of trilinearly interpolated features in a regular grid of cells of each box.

    RoIAlign (He et al., "Mask R-CNN", ICCV 2017, section 3) with one more axis; on a volume of one slice it is
    torchvision's ``roi_align``. Points within one voxel of the volume take the border's value, farther out they count
    as 0. Differentiable in the features, not in the boxes; computed in float32 at least. As in `roi_align_rows` every
    cell is one bag of an embedding bag over the voxels' channels, many times as fast as sampling point by point.

    Args:
        features: [N, C, D, H, W], D along z; fastest in ``channels_last_3d`` memory.
        boxes: N tensors [K, 6] (x1, y1, z1, x2, y2, z2), voxels of the grid that ``spatial_scale`` maps to that of the
            features; with ``aligned`` edges are half-open: voxel k covers [k, k + 1).
        output_size: cells (d, h, w) of a box, or one number for all.
        spatial_scale: feature voxels per voxel of the boxes, one number or (z, y, x).
        sampling_ratio: points along each side of a cell; 0 or less = as many as feature voxels fit in, rounded up.
        aligned: False reads coordinates as voxel centres and widens thin boxes to one feature voxel (the first
            RoIAlign).

    Returns:
        [sum of K, C, d, h, w] in the dtype of ``features``, boxes in the order given.

    Raises:
        ValueError: shapes or sizes other than told.
    """
    size = (output_size,) * 3 if isinstance(output_size, int) else tuple(output_size)
    scale = tuple(spatial_scale) if isinstance(spatial_scale, Sequence) else (spatial_scale,) * 3
    if features.ndim != 5 or len(boxes) != len(features):
        raise ValueError(
            f"expected features [N, C, D, H, W] and N lists of boxes, got {list(features.shape)} and {len(boxes)}"
        )
    if len(size) != 3 or min(size) < 1 or len(scale) != 3 or not min(scale) > 0:
        raise ValueError(f"output_size and spatial_scale need one or three positive numbers, got {size} and {scale}")
    if any(b.ndim != 2 or b.shape[1] != 6 for b in boxes):
        raise ValueError(f"boxes are [K, 6] (x1, y1, z1, x2, y2, z2), got {[list(b.shape) for b in boxes]}")

    dtype = torch.promote_types(features.dtype, torch.float32)
    rows = features.permute(0, 2, 3, 4, 1).reshape(-1, features.shape[1]).to(dtype)
    joined = torch.cat([b.detach().to(features.device, dtype) for b in boxes])
    volume = torch.repeat_interleave(
        torch.arange(len(boxes), device=rows.device), torch.tensor([len(b) for b in boxes], device=rows.device)
    )
    # axes in the order z, y, x from here on; positions count voxel centres 0, 1, ...
    factor = joined.new_tensor(scale)
    start = joined[:, [2, 1, 0]] * factor
    length = joined[:, [5, 4, 3]] * factor - start
    if aligned:
        start = start - 0.5
    else:
        length = length.clamp(min=1.0)
    points = torch.full(length.shape, sampling_ratio, device=rows.device)
    if sampling_ratio <= 0:
        points = (length / length.new_tensor(size)).ceil().long().clamp(min=1)

    shape = (features.shape[2], features.shape[3], features.shape[4])
    parts, places = [rows[:0]], []  # no box at all still belongs to the graph
    for count in points.unique(dim=0):
        here = (points == count).all(dim=1).nonzero()[:, 0]
        per_box = 8 * int(count.prod()) * size[0] * size[1] * size[2]
        for some in here.split(max(1, _WEIGHTS_AT_ONCE // per_box)):
            parts.append(_pool(rows, volume[some], start[some], length[some], shape, size, count.tolist()))
            places.append(some)
    pooled = torch.cat(parts).reshape(-1, size[0], size[1], size[2], rows.shape[1])
    if len(places) > 1:
        pooled = pooled[torch.cat(places).argsort()]
    return pooled.permute(0, 4, 1, 2, 3).to(features.dtype)


def _pool(
    rows: Tensor,
    volume: Tensor,
    start: Tensor,
    length: Tensor,
    shape: tuple[int, int, int],
    size: tuple[int, ...],
    points: list[int],
) -> Tensor:
    """Cells [K * d * h * w, C] of K boxes, each cell sampled at ``points`` (z, y, x) along its sides."""
    taps = [_taps(start[:, a], length[:, a], shape[a], size[a], points[a]) for a in range(3)]
    (z, z_weight), (y, y_weight), (x, x_weight) = taps
    _, height, width = shape
    # [K, d, h, w, taps along z, y, x]
    index = ((volume[:, None, None] * shape[0] + z) * height)[:, :, None, None, :, None, None]
    index = (index + y[:, None, :, None, None, :, None]) * width + x[:, None, None, :, None, None, :]
    weight = z_weight[:, :, None, None, :, None, None] * y_weight[:, None, :, None, None, :, None]
    weight = weight * x_weight[:, None, None, :, None, None, :]
    bags = (-1, index.shape[4] * index.shape[5] * index.shape[6])
    return embedding_bag(index.reshape(bags), rows, mode="sum", per_sample_weights=weight.reshape(bags))


def _taps(start: Tensor, length: Tensor, extent: int, cells: int, points: int) -> tuple[Tensor, Tensor]:
    """Along one axis: which voxels each cell takes, and with what weight; int64 and float [K, cells, 2 * points]."""
    steps = (torch.arange(cells * points, dtype=start.dtype, device=start.device) + 0.5) / (cells * points)
    position = start[:, None] + steps * length[:, None]
    inside = (position >= -1) & (position <= extent)
    # Also what is not a number is outside, and must not become an index.
    position = torch.where(inside, position, 0).clamp(0, extent - 1)
    lower = position.floor().clamp(max=max(extent - 2, 0))
    upper_weight = position - lower
    index = torch.stack([lower, (lower + 1).clamp(max=extent - 1)], dim=2).long()
    weight = torch.stack([1 - upper_weight, upper_weight], dim=2) * (inside[..., None] / points)
    return index.reshape(-1, cells, 2 * points), weight.reshape(-1, cells, 2 * points)
