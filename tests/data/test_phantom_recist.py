"""RECIST marks on literal outlines."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_app.data.phantom.recist import measure


def test_bar_is_measured_along_and_across() -> None:
    mask = np.zeros((7, 30), dtype=bool)
    mask[2:5, 4:25] = True
    recist = measure(mask)
    long, short = recist.diameters_px
    assert long == pytest.approx(np.hypot(20, 2))
    assert 2.0 <= short <= 2.1


def test_axes_of_a_tilted_ellipse() -> None:
    y, x = np.mgrid[:200, :200] - 100.0
    u, v = (x + y) / np.sqrt(2), (y - x) / np.sqrt(2)
    recist = measure((u / 60) ** 2 + (v / 25) ** 2 < 1)
    assert recist.diameters_px[0] == pytest.approx(120, abs=2)
    assert recist.diameters_px[1] == pytest.approx(50, abs=2)
    (a, b), (c, d) = recist.points[1] - recist.points[0], recist.points[3] - recist.points[2]
    assert abs(a * c + b * d) / np.hypot(a, b) / np.hypot(c, d) < 0.12


def test_box_pads_the_pixels_of_the_end_points_by_five() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[4, 2:7] = True
    mask[2:7, 4] = True
    assert measure(mask, column=100, row=50).padded_box == (97.0, 47.0, 112.0, 62.0)


def test_finer_mask_gives_the_same_mark_in_slice_pixels() -> None:
    coarse = np.zeros((12, 12), dtype=bool)
    coarse[3:8, 2:10] = True
    a, b = measure(coarse), measure(np.kron(coarse, np.ones((4, 4), dtype=bool)), finer=4)
    # The finer mask resolves the outer pixels' far edges, 3/8 px beyond their centres.
    np.testing.assert_allclose(a.points.min(axis=0) - b.points.min(axis=0), 0.375)
    np.testing.assert_allclose(b.points.max(axis=0) - a.points.max(axis=0), 0.375)


def test_single_pixel_has_no_length() -> None:
    assert measure(np.ones((1, 1), dtype=bool)).diameters_px == (0.0, 0.0)
