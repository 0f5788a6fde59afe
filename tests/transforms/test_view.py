"""Views map pixel edges, compose and invert."""

from __future__ import annotations

import pytest
import torch

from transforms.view import View

BOXES = torch.tensor([[0.0, 0.0, 512.0, 512.0], [10.5, 20.0, 30.0, 44.25]])


def test_crop_then_resize_is_the_literal_map():
    view = View().then(View(shift_x=-100, shift_y=-50)).then(View(0.5, 0.25))
    assert view == View(0.5, 0.25, -50.0, -12.5)
    assert view.apply(torch.tensor([[100.0, 50.0, 120.0, 90.0]])).tolist() == [[0.0, 0.0, 10.0, 10.0]]


def test_resize_then_crop_is_another_map():
    assert View(0.5, 0.25).then(View(shift_x=-100, shift_y=-50)) == View(0.5, 0.25, -100.0, -50.0)


def test_then_equals_one_map_after_the_other():
    first, second = View(1.3, 0.7, 5.0, -3.0), View(0.8, 1.1, -7.0, 2.0)
    torch.testing.assert_close(first.then(second).apply(BOXES), second.apply(first.apply(BOXES)))


def test_invert_undoes_apply():
    view = View(0.83, 1.17, -12.0, 8.0)
    torch.testing.assert_close(view.invert(view.apply(BOXES)), BOXES, atol=1e-4, rtol=0)


def test_no_boxes_stay_no_boxes():
    assert View(2.0, 2.0).apply(torch.empty(0, 4)).shape == (0, 4)


def test_number_type_of_boxes_is_kept():
    assert View(2.0, 2.0).apply(BOXES.double()).dtype == torch.float64


@pytest.mark.parametrize("scales", [(0.0, 1.0), (1.0, -1.0), (float("nan"), 1.0)])
def test_scale_that_is_not_positive_is_refused(scales):
    with pytest.raises(ValueError, match="positive scales"):
        View(*scales)
