"""Cut slabs of neighbouring slices at a fixed distance in mm out of a volume of any spacing."""

from __future__ import annotations

import torch
from torch import Tensor

# Positions this close to a slice (in slices) are on it: 2 mm / 0.4 mm must not touch a second slice.
ON_SLICE_DECIMALS = 6


def neighbour_weights(
    centre: float | Tensor, num_slices: int, interval_mm: float, spacing_z_mm: float, depth: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Which slices to mix, and how, for the neighbours of a slice.

    Neighbour k lies ``(k - (S - 1) / 2) * interval_mm`` from the centre and is interpolated linearly
    between the two slices around it, each neighbour with its own weights (MULAN's published loader
    reuses those of the first neighbour). Beyond the ends of the volume the end slice is repeated.

    Args:
        centre: slice index, may be fractional; or a tensor [N] of them.
        num_slices: S neighbours, the centre among them when S is odd.
        interval_mm: distance of neighbours, mm.
        spacing_z_mm: distance of the volume's slices, mm.
        depth: number of slices of the volume.

    Returns:
        lower [S] int64, upper [S] int64 (equal where the neighbour lies on a slice), weight of the
        upper [S] float32; [N, S] each for a tensor of centres.

    Raises:
        ValueError: for counts or distances that are not positive.
    """
    if num_slices < 1 or depth < 1 or not interval_mm > 0 or not spacing_z_mm > 0:
        raise ValueError(
            f"a slab needs positive num_slices, interval_mm, spacing_z_mm and depth, got {num_slices}, {interval_mm}, "
            f"{spacing_z_mm} and {depth}"
        )
    centres = torch.as_tensor(centre, dtype=torch.float64)
    offsets = torch.arange(num_slices, dtype=torch.float64, device=centres.device) - (num_slices - 1) / 2
    position = centres[..., None] + offsets * (interval_mm / spacing_z_mm)
    position = position.clamp(0, depth - 1).round(decimals=ON_SLICE_DECIMALS)
    lower = position.floor()
    return lower.long(), position.ceil().long(), (position - lower).float()


def slices_to_read(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each slice that the result of `neighbour_weights` names once, and both in rows of those: what to read and mix.

    Returns:
        slices int64 [K], rising; ``lower`` and ``upper`` as places in them, shaped as they were.
    """
    needed, (lower_rows, upper_rows) = torch.unique(torch.stack([lower, upper]), return_inverse=True)
    return needed, lower_rows, upper_rows


def cut_slab(
    volume: Tensor,
    centre: float | Tensor,
    spacing_z_mm: float,
    *,
    num_slices: int = 9,
    interval_mm: float = 2.0,
) -> Tensor:
    """Cut a slab around a slice (see `neighbour_weights`).

    Args:
        volume: [Z, H, W] of any number type, HU or scaled.
        centre: slice index, may be fractional; or a tensor [N] of them.
        spacing_z_mm: distance of the volume's slices, mm.
        num_slices, interval_mm: S neighbours this far apart, mm.

    Returns:
        float32 [S, H, W]; [N, S, H, W] for a tensor of centres.
    """
    weights = neighbour_weights(centre, num_slices, interval_mm, spacing_z_mm, volume.shape[0])
    return mix_slices(volume, *(part.to(volume.device) for part in weights))


def mix_slices(volume: Tensor, lower: Tensor, upper: Tensor, weight: Tensor) -> Tensor:
    """Interpolate ``volume`` [Z, H, W] by the result of `neighbour_weights`: float32 [..., S, H, W]."""
    low, high = volume[lower].float(), volume[upper].float()
    # In place (indexing has copied), which is four times as fast here as torch.lerp with broadcast weights.
    return high.sub_(low).mul_(weight[..., None, None]).add_(low)
