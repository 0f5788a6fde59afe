from __future__ import annotations

from itertools import product

import pytest
import torch

from lesion_app.networks.anchors_nd import PyramidAnchors

SIDES, SIDES_Z = (4, 8, 16, 32), (1, 2, 4, 8)


def maps(dim: int, size: tuple[int, ...]) -> list[torch.Tensor]:
    """P2 to P5 of an image of ``size``."""
    found = []
    for level in (2, 3, 4, 5):
        strides = (2 ** (level - 2),) * (dim - 2) + (2**level,) * 2
        found.append(torch.zeros(1, 3, *[n // s for n, s in zip(size, strides)]))
    return found


def slow_anchors(dim: int, size: tuple[int, ...], scales: list[float], ratios: list[float]) -> list[list[float]]:
    found = []
    for number, level in enumerate((2, 3, 4, 5)):
        strides = (2 ** (level - 2),) * (dim - 2) + (2**level,) * 2
        for cell in product(*(range(n // s) for n, s in zip(size, strides))):
            centre = [(c + 0.5) * s for c, s in zip(cell, strides)][::-1]
            for scale, ratio in product(scales, ratios):
                width, height = SIDES[number] * scale / ratio**0.5, SIDES[number] * scale * ratio**0.5
                sides = [width, height, SIDES_Z[number] * scale][:dim]
                found.append([c - s / 2 for c, s in zip(centre, sides)] + [c + s / 2 for c, s in zip(centre, sides)])
    return found


@pytest.mark.parametrize(("dim", "size"), [(2, (32, 64)), (3, (8, 64, 32))])
def test_equal_to_the_slow_ones(dim: int, size: tuple[int, ...]) -> None:
    scales, ratios = [1.0, 2 ** (1 / 3)], [0.5, 1.0, 2.0]
    found = PyramidAnchors(dim, SIDES, SIDES_Z, scales, ratios)(maps(dim, size))
    torch.testing.assert_close(found, torch.tensor(slow_anchors(dim, size, scales, ratios)))


def test_first_cell_of_p2_in_3d() -> None:
    anchors = PyramidAnchors(3, scales=(1.0,), ratios=(1.0,))(maps(3, (8, 32, 32)))
    assert anchors[0].tolist() == [0.0, 0.0, 0.0, 4.0, 4.0, 1.0]
    assert anchors[-1].tolist() == [0.0, 0.0, 0.0, 32.0, 32.0, 8.0]


def test_ratio_is_height_over_width_at_an_equal_area() -> None:
    anchors = PyramidAnchors(2, scales=(1.0,), ratios=(0.25, 4.0))(maps(2, (32, 32)))[:2]
    sides = anchors[:, 2:] - anchors[:, :2]
    assert sides.tolist() == [[8.0, 2.0], [2.0, 8.0]]


@pytest.mark.parametrize("settings", [{"sizes": (4, 8)}, {"sizes_z": (1, 2, 0, 8)}, {"scales": ()}, {"ratios": (0.0,)}])
def test_nonsense_is_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match="anchors need"):
        PyramidAnchors(3, **settings)
