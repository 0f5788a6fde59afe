"""The picture of a confusion matrix."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lesion_app.errors import InputError
from lesion_app.visualize.confusion_picture import draw_confusion

NAMES = ("bone", "lung")


def test_shade_follows_the_share_of_the_row(tmp_path):
    even, skewed = np.array([[5, 5, 0], [0, 9, 0], [0, 0, 0]]), np.array([[9, 1, 0], [0, 9, 0], [0, 0, 0]])
    pictures = [
        np.asarray(Image.open(draw_confusion(m, NAMES, tmp_path / f"{i}.png")).convert("L"), dtype=float)
        for i, m in enumerate((even, skewed, 10 * skewed))
    ]
    darker = pictures[0] - pictures[1]
    assert (darker > 60).sum() > 1000  # bone as bone
    assert (darker < -60).sum() > 1000  # bone as lung
    assert (abs(pictures[1] - pictures[2]) > 60).sum() < 1000  # digits alone


def test_wrong_shapes_and_places_are_told(tmp_path):
    with pytest.raises(ValueError, match="3 x 3"):
        draw_confusion(np.zeros((2, 2)), NAMES, tmp_path / "a.png")
    with pytest.raises(InputError, match=r"\.png"):
        draw_confusion(np.zeros((3, 3)), NAMES, tmp_path / "a.txt")
