"""Overlays of mined lesions: sizes, colours, places."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lesion_app.visualize.mining_overlay import draw_mining_overlay, draw_mining_sheet
from lesion_app.visualize.palette import LABELLED, MINED, UNLABELLED

NONE = np.zeros((0, 4))
GREY = np.full((120, 160), 64.0)  # about 4 HU


def near(picture: np.ndarray, style) -> np.ndarray:
    color = np.array([int(style.color[i : i + 2], 16) for i in (1, 3, 5)])
    return np.abs(picture.astype(int) - color).max(axis=-1) < 45


def test_the_overlay_is_the_image_times_a_whole_number():
    assert draw_mining_overlay(GREY, NONE, NONE, np.zeros(0)).shape == (3 * 120, 3 * 160, 3)
    picture = draw_mining_overlay(GREY, NONE, NONE, np.zeros(0), scale=2)
    assert picture.shape == (240, 320, 3)
    assert picture.dtype == np.uint8


def test_ground_truth_is_green_and_mined_boxes_are_blue_where_they_lie():
    picture = draw_mining_overlay(GREY, np.array([[10, 20, 50, 60]]), np.array([[90, 30, 130, 70]]), [0.95], scale=2)
    for style, box in ((LABELLED, (10, 20, 50, 60)), (MINED, (90, 30, 130, 70))):
        side = near(picture, style)[2 * box[1] + 10 : 2 * box[3] - 10]
        columns = np.flatnonzero(side.mean(axis=0) > 0.9)
        assert abs(columns.min() - 2 * box[0]) <= 2
        assert abs(columns.max() - 2 * box[2]) <= 2


def test_hidden_truth_is_orange_and_dashed_and_absent_where_unknown():
    hidden = np.array([[40, 40, 120, 100]])
    known = near(draw_mining_overlay(GREY, NONE, NONE, [], hidden, scale=2), UNLABELLED)
    top = known[78:83, 90:230].any(axis=0)
    assert 0.3 < top.mean() < 0.95
    assert not near(draw_mining_overlay(GREY, NONE, NONE, [], None, scale=2), UNLABELLED).any()


def test_a_soft_tissue_image_is_windowed_not_shown_raw():
    liver, fat = (100 + 1024) / 4095 * 255, (-80 + 1024) / 4095 * 255
    image = np.full((60, 60), liver)
    image[:, 30:] = fat
    picture = draw_mining_overlay(image, NONE, NONE, [], scale=1).astype(int)
    assert picture[30, 10, 0] - picture[30, 50, 0] > 100
    assert draw_mining_overlay(image, NONE, NONE, [], scale=1, window=(-600, 1500)).astype(int)[30, 50, 0] > 150


def test_the_same_input_gives_the_same_picture():
    a, b = (draw_mining_overlay(GREY, NONE, np.array([[5.0, 5, 50, 50]]), [0.9]) for _ in range(2))
    assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((GREY[None], NONE, NONE, []), r"one slice \[H, W\]"),
        ((GREY, NONE, np.zeros((2, 4)), [0.5]), "2 boxes and 1 scores"),
        ((GREY, np.zeros((2, 5)), NONE, []), r"ground_truth must be \[N, 4\]"),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(arguments, told):
    with pytest.raises(ValueError, match=told):
        draw_mining_overlay(*arguments)


@pytest.mark.parametrize("count", [1, 4, 7])
def test_a_sheet_holds_every_overlay(tmp_path, drawn, count):
    overlays = [np.full((50 + i, 80, 3), 30 * i, np.uint8) for i in range(count)]
    out = draw_mining_sheet(overlays, tmp_path / "m.png", titles=[f"iteration {i}" for i in range(count)])
    assert Image.open(out).size[0] > 600
    shown = [a.images[0].get_array() for a in drawn[0].axes if a.images]
    assert [np.asarray(a).shape for a in shown] == [o.shape for o in overlays]


def test_a_sheet_needs_overlays_and_as_many_titles(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        draw_mining_sheet([], tmp_path / "m.png")
    with pytest.raises(ValueError, match="2 for 1"):
        draw_mining_sheet([np.zeros((9, 9, 3), np.uint8)], tmp_path / "m.png", titles=["a", "b"])
