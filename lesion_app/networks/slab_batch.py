"""Slabs of different sizes in one batch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def slab_batch(slabs: Sequence[Tensor], multiple: int, least: int = 0) -> Tensor:
    """Slabs in the upper left corners of one batch, zeros (air, where intensities are scaled to [0, 255]) around them.

    Args:
        slabs: ``[S, H, W]`` each, H and W may differ.
        multiple: height and width of the batch are multiples of it, px.
        least: smallest height and width, px.

    Returns:
        ``[B, S, H, W]`` of the slabs' dtype and device.
    """
    height, width = (max(least, -(-max(s.shape[axis] for s in slabs) // multiple) * multiple) for axis in (-2, -1))
    batch = slabs[0].new_zeros((len(slabs), slabs[0].shape[0], height, width))
    for row, slab in zip(batch, slabs):
        row[:, : slab.shape[-2], : slab.shape[-1]] = slab
    return batch
