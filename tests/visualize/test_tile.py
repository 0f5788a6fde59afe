"""Slices and boxes land where their pixels are; labels keep clear of boxes."""

from __future__ import annotations

import numpy as np

from lesion_app.visualize.page import Page
from lesion_app.visualize.palette import PREDICTED, TRUTH
from lesion_app.visualize.tile import DrawnBox, draw_boxes, place_labels, show_slice

FRAME = (0.0, 0.0, 100.0, 100.0)


def test_pixel_k_covers_k_to_k_plus_one():
    grey = np.zeros((10, 20), np.uint8)
    grey[4, 7] = 255
    page = Page(2.0, 1.0, dpi=100)
    axes = page.axes(0, 0, 2.0, 1.0)
    show_slice(axes, grey, (0, 0, 20, 10))
    axes.images[0].set_interpolation("nearest")
    bright = np.argwhere(page.pixels()[..., 0] > 128)
    assert bright.min(axis=0).tolist() == [40, 70]
    assert bright.max(axis=0).tolist() == [49, 79]


def _outline(style) -> np.ndarray:
    page = Page(1.0, 1.0, dpi=100)
    axes = page.axes(0, 0, 1.0, 1.0)
    show_slice(axes, np.full((50, 50), 90, np.uint8), (0, 0, 50, 50))
    draw_boxes(axes, [DrawnBox((10, 10, 40, 30), style)])
    color = np.array([int(style.color[i : i + 2], 16) for i in (1, 3, 5)])
    return np.abs(page.pixels().astype(int) - color).max(axis=-1) < 40


def test_a_box_edge_is_drawn_on_the_edge_of_its_pixels():
    found = np.argwhere(_outline(PREDICTED))
    assert np.abs(found.min(axis=0) - [20, 20]).max() <= 2
    assert np.abs(found.max(axis=0) - [60, 80]).max() <= 2


def test_a_dashed_box_has_gaps_and_a_solid_one_has_none():
    solid, dashed = (_outline(style)[18:23, 25:75].any(axis=0) for style in (PREDICTED, TRUTH))
    assert solid.all()
    assert 0.3 < dashed.mean() < 0.9


def test_a_label_stands_above_its_box_when_there_is_room():
    assert place_labels([(40, 40, 60, 60)], np.array([[20, 10]]), FRAME, [(40, 40, 60, 60)]).tolist() == [[40, 28]]


def test_a_label_moves_below_a_box_at_the_upper_border():
    ((_, y),) = place_labels([(40, 2, 60, 20)], np.array([[20, 10]]), FRAME, [(40, 2, 60, 20)])
    assert y >= 20


def test_labels_of_neighbouring_boxes_do_not_cover_each_other_or_the_boxes():
    boxes = [(30.0, 40.0, 45.0, 55.0), (47.0, 42.0, 60.0, 56.0), (35.0, 60.0, 50.0, 70.0)]
    sizes = np.full((3, 2), (24.0, 9.0))
    corners = place_labels(boxes, sizes, FRAME, boxes)
    rects = [(*c, *(c + s)) for c, s in zip(corners, sizes)]
    for i, a in enumerate(rects):
        for b in [*boxes, *rects[:i]]:
            assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1])


def test_no_box_needs_no_label():
    assert place_labels([], np.zeros((0, 2)), FRAME, []).shape == (0, 2)
