"""RoIAlign as a weighted sum of feature rows: fast on CPUs, where channels lie side by side in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def roi_align_rows(
    features: Tensor, boxes: Sequence[Tensor], output_size: int, spatial_scale: float, sampling_ratio: int
) -> Tensor:
    """RoIAlign (He et al., Mask R-CNN, section 3), equal to ``torchvision.ops.roi_align(..., aligned=False)``.

    Every output cell is the mean of ``sampling_ratio`` x ``sampling_ratio`` bilinear samples, each a weighted sum of
    four cells of the map. All of them together are one embedding bag over the map's cells, which reads whole rows of
    channels, and adds to whole rows when the gradient goes back. No gradient flows to the boxes.

    Args:
        features: ``[B, C, H, W]``, fastest in ``channels_last`` memory.
        boxes: B tensors ``[R, 4]``, px of the image.
        output_size: cells P along each side of a box.
        spatial_scale: map cells per px of the image.
        sampling_ratio: samples along each side of an output cell.

    Returns:
        ``[sum R, P * P, C]`` in the dtype of ``features``: cells by row, then column.
    """
    _, channels, height, width = features.shape
    # The fast kernel reads contiguous rows; in channels_last memory this is a view.
    rows = features.permute(0, 2, 3, 1).contiguous().view(-1, channels)
    joined = torch.cat(list(boxes)).detach().float() * spatial_scale
    image = torch.repeat_interleave(
        torch.arange(len(boxes), device=rows.device), torch.tensor([len(b) for b in boxes], device=rows.device)
    )
    x_low, x_high, x_weight, x_inside = _samples(joined[:, 0], joined[:, 2], width, output_size, sampling_ratio)
    y_low, y_high, y_weight, y_inside = _samples(joined[:, 1], joined[:, 3], height, output_size, sampling_ratio)
    columns = torch.stack((x_low, x_high), dim=-1).flatten(2)  # [R, P, 2 * ratio]
    lines = torch.stack((y_low, y_high), dim=-1).flatten(2)
    across = torch.stack((1 - x_weight, x_weight), dim=-1).mul_(x_inside[..., None]).flatten(2)
    down = torch.stack((1 - y_weight, y_weight), dim=-1).mul_(y_inside[..., None]).flatten(2)
    # [R, P (y), P (x), 2 * ratio (y), 2 * ratio (x)]
    index = lines[:, :, None, :, None] * width + columns[:, None, :, None, :]
    index = index + (image * (height * width))[:, None, None, None, None]
    weight = down[:, :, None, :, None] * across[:, None, :, None, :] / (sampling_ratio * sampling_ratio)
    taken = 4 * sampling_ratio * sampling_ratio
    pooled = F.embedding_bag(
        index.reshape(-1, taken), rows, per_sample_weights=weight.reshape(-1, taken).to(rows.dtype), mode="sum"
    )
    return pooled.reshape(len(joined), output_size * output_size, channels)


def _samples(start: Tensor, end: Tensor, extent: int, cells: int, ratio: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Lower and upper cell, weight of the upper one, and 1 or 0 for in or out of the map, each ``[R, cells,
    ratio]``."""
    size = (end - start).clamp(min=1.0) / cells
    offset = (torch.arange(cells * ratio, device=start.device) + 0.5) / ratio
    place = (start[:, None] + offset * size[:, None]).unflatten(1, (cells, ratio))
    inside = ((place >= -1.0) & (place <= extent)).to(place.dtype)
    place = place.clamp(0.0, extent - 1.0)
    low = place.floor().long()
    return low, (low + 1).clamp(max=extent - 1), place - low, inside
