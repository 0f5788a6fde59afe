"""Where a zoom may lie."""

from __future__ import annotations

import numpy as np

from lesion_app.visualize.zoom import zoom_corner

FRAME = (0.0, 0.0, 300.0, 200.0)
BODY = np.zeros((200, 300), bool)
BOX = (150.0, 100.0, 158.0, 108.0)


def test_a_zoom_takes_the_corner_with_least_body():
    body = np.ones((200, 300), bool)
    body[:100, 150:] = False
    assert zoom_corner(FRAME, (1.5, 1.5), BOX, [BOX], body) == (240, 0, 300, 60)


def test_a_zoom_covers_no_box():
    corner = zoom_corner(FRAME, (1.5, 1.5), BOX, [BOX, (5, 5, 20, 20), (280, 5, 290, 20), (5, 150, 9, 199)], BODY)
    assert corner == (240, 140, 300, 200)
    assert zoom_corner(FRAME, (1.5, 1.5), BOX, [(0, 0, 300, 200)], BODY) is None


def test_a_zoom_is_square_in_millimetres():
    x1, y1, x2, y2 = zoom_corner(FRAME, (1.0, 2.0), BOX, [BOX], BODY)
    assert (x2 - x1) * 1.0 == (y2 - y1) * 2.0


def test_a_lesion_that_would_not_grow_gets_no_zoom():
    assert zoom_corner(FRAME, (1.5, 1.5), (100, 60, 180, 140), [], BODY) is None
