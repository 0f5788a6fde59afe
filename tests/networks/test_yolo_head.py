from __future__ import annotations

import math

import pytest
import torch

from lesion_app.networks.yolo_head import YOLOHead, decode_heads


def head(stride: int = 16, scale: float = 1.1, anchors: tuple = ((10, 20), (30, 8)), classes: int = 2) -> YOLOHead:
    torch.manual_seed(0)
    return YOLOHead(8, classes, anchors, stride, scale, objectness_prior=0.01, norm_momentum=0.1).eval()


def test_zero_is_the_anchor_in_the_middle_of_its_cell() -> None:
    boxes = head().decode(torch.zeros(1, 2, 3, 2, 7))
    assert boxes.shape == (1, 2, 3, 2, 4)
    # second row, third column: its middle is (40, 24)
    assert boxes[0, 1, 2].tolist() == [[35, 14, 45, 34], [25, 20, 55, 28]]


@pytest.mark.parametrize("scale", [1.0, 1.05, 1.2])
def test_boxes_follow_the_formula(scale: float) -> None:
    raw = torch.randn(1, 2, 3, 2, 7, generator=torch.Generator().manual_seed(1))
    boxes = head(scale=scale).decode(raw)
    for row in range(2):
        for column in range(3):
            for a, (p_w, p_h) in enumerate(((10, 20), (30, 8))):
                x, y, w, h = raw[0, row, column, a, :4].tolist()
                centre = [16 * (c + scale / (1 + math.exp(-t)) - (scale - 1) / 2) for c, t in ((column, x), (row, y))]
                half = [p * math.exp(t) / 2 for p, t in ((p_w, w), (p_h, h))]
                expected = [centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]]
                assert boxes[0, row, column, a].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-4)


def test_grid_sensitivity_reaches_the_edge_of_the_cell() -> None:
    raw = torch.zeros(1, 1, 1, 2, 7)
    raw[..., 0] = 4.0
    x = [head(scale=s).decode(raw)[0, 0, 0, 0][::2].mean().item() for s in (1.0, 1.2)]
    assert x[0] < 16 < x[1]


def test_extreme_values_give_finite_boxes_with_area() -> None:
    for value in (-1e4, 1e4):
        boxes = head().decode(torch.full((1, 1, 1, 2, 7), value))
        assert torch.isfinite(boxes).all()
        assert (boxes[..., 2:] > boxes[..., :2]).all()


def test_untrained_objectness_is_the_prior() -> None:
    fresh = head()
    torch.nn.init.zeros_(fresh.out.weight)
    raw = fresh(torch.rand(1, 8, 4, 4))
    assert raw.shape == (1, 4, 4, 2, 7)
    torch.testing.assert_close(raw[..., 4].sigmoid(), torch.full((1, 4, 4, 2), 0.01))
    assert not raw[..., 5:].any()


def test_places_are_ordered_by_head_row_column_and_anchor() -> None:
    heads = [head(16), head(32, anchors=((50, 60), (70, 40)))]
    maps = [torch.rand(2, 8, 2, 3), torch.rand(2, 8, 1, 2)]
    found = decode_heads(heads, maps)
    assert found.grids == ((2, 3), (1, 2))
    assert found.boxes.shape == (2, 16, 4)
    assert found.classes.shape == (2, 16, 2)
    raw = heads[0](maps[0])
    place = (1 * 3 + 2) * 2 + 1  # row 1, column 2, anchor 1
    torch.testing.assert_close(found.objectness[1, place], raw[1, 1, 2, 1, 4])
    torch.testing.assert_close(found.classes[1, place], raw[1, 1, 2, 1, 5:])
    torch.testing.assert_close(found.boxes[1, place], heads[0].decode(raw)[1, 1, 2, 1])
    assert found.anchor_boxes[place].tolist() == [25, 20, 55, 28]
    assert found.cells[place].tolist() == [32, 16, 48, 32]
    last = heads[1](maps[1])
    torch.testing.assert_close(found.objectness[:, -1], last[:, 0, 1, 1, 4])


def test_half_precision_is_decoded_in_single() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = decode_heads([head()], [torch.rand(1, 8, 2, 2)])
    assert found.boxes.dtype == found.objectness.dtype == found.classes.dtype == torch.float32
