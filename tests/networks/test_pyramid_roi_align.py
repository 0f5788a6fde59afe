from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lesion_app.networks.pyramid_roi_align import box_levels, pool_pyramid

SIZES = (4.0, 8.0, 16.0, 32.0)


def pyramid(dim: int) -> dict[int, Tensor]:
    rng = torch.Generator().manual_seed(dim)
    found = {}
    for level in (2, 3, 4, 5):
        z = (16 // 2 ** (level - 2),) if dim == 3 else ()
        found[level] = torch.randn(2, 3, *z, 64 // 2**level, 64 // 2**level, generator=rng)
    return found


def sample(features: Tensor, point: list[float]) -> Tensor:
    """Linear interpolation at one point (z, y, x) in voxel-centre indices; 0 from one voxel beyond the border on."""
    if any(p < -1 or p > n for p, n in zip(point, features.shape[1:])):
        return torch.zeros(features.shape[0])
    found = features
    for p in point:
        n = found.shape[1]
        p = min(max(p, 0.0), n - 1.0)
        low = min(int(p), max(n - 2, 0))
        high = min(low + 1, n - 1)
        found = found[:, low] * (1 - (p - low)) + found[:, high] * (p - low)
    return found


def slow_pool(maps: dict[int, Tensor], box: Tensor, image: int, cells: tuple[int, ...], points: int) -> Tensor:
    dim = len(cells)
    side = ((box[dim] - box[0]) * (box[dim + 1] - box[1])).sqrt()
    level = min((2, 3, 4, 5), key=lambda j: abs(float(side.log()) - float(torch.tensor(SIZES[j - 2]).log())))
    stride = ([2 ** (level - 2)] if dim == 3 else []) + [2**level] * 2
    low = [float(v) / s for v, s in zip(box[:dim].flip(0), stride)]
    high = [float(v) / s for v, s in zip(box[dim:].flip(0), stride)]
    pooled = torch.zeros(3, *cells)
    grids = [range(n) for n in cells]
    for cell in torch.cartesian_prod(*[torch.tensor(list(g)) for g in grids]).tolist():
        total = torch.zeros(3)
        for sub in torch.cartesian_prod(*[torch.arange(points)] * dim).tolist():
            at = [
                a + (b - a) * (c + (s + 0.5) / points) / n - 0.5 for a, b, c, s, n in zip(low, high, cell, sub, cells)
            ]
            total += sample(maps[level][image], at)
        pooled[(slice(None), *cell)] = total / points**dim
    return pooled


@pytest.mark.parametrize(
    ("dim", "cells", "boxes"),
    [
        (2, (2, 3), [[[4.0, 6, 9, 10], [0, 0, 64, 64]], [[20.0, 30, 31, 47.5], [58, -4, 66, 12]]]),
        (3, (2, 2, 3), [[[4.0, 6, 3, 9, 10, 5]], [[20.0, 30, 2, 36, 47.5, 12], [50, 40, 12, 70, 60, 18]]]),
    ],
)
def test_equal_to_the_slow_pooling(dim: int, cells: tuple[int, ...], boxes: list) -> None:
    maps, given = pyramid(dim), [torch.tensor(b) for b in boxes]
    expected = [slow_pool(maps, box, i, cells, 2) for i, of_image in enumerate(given) for box in of_image]
    torch.testing.assert_close(pool_pyramid(maps, given, cells, SIZES, 2), torch.stack(expected), atol=1e-5, rtol=1e-4)


def test_level_is_that_of_the_nearest_anchor_size() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 5, 5], [0, 0, 6, 6], [0, 0, 4, 16], [0, 0, 30, 30], [0, 0, 500, 500]])
    assert box_levels(boxes, SIZES).tolist() == [0, 0, 1, 1, 3, 3]


@pytest.mark.parametrize("dim", [2, 3])
def test_no_boxes_at_all_is_part_of_the_graph(dim: int) -> None:
    maps = {k: v.requires_grad_() for k, v in pyramid(dim).items()}
    pooled = pool_pyramid(maps, [torch.zeros(0, 2 * dim)] * 2, (2,) * dim, SIZES, 2)
    assert pooled.shape == (0, 3, *(2,) * dim)
    pooled.sum().backward()


def test_gradient_reaches_the_level_that_was_read() -> None:
    maps = {k: v.requires_grad_() for k, v in pyramid(2).items()}
    pool_pyramid(maps, [torch.tensor([[8.0, 8, 24, 24]]), torch.zeros(0, 4)], (2, 2), SIZES, 2).sum().backward()
    assert maps[4].grad[0].any()
    assert not maps[4].grad[1].any()
