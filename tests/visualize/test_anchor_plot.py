from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from lesion_app.errors import InputError
from lesion_app.visualize.anchor_plot import plot_anchors

SIDES = np.random.default_rng(0).uniform(5, 60, (200, 2))
ANCHORS = np.array([[12.0, 14.0], [30.0, 28.0], [50.0, 55.0]])


def test_picture_shows_boxes_and_anchors(tmp_path: Path) -> None:
    path = plot_anchors(SIDES, ANCHORS, 0.7, tmp_path / "anchors.png")
    full = matplotlib.image.imread(path)
    few = matplotlib.image.imread(plot_anchors(SIDES[:5], ANCHORS, 0.7, tmp_path / "few.png"))
    assert full.shape == few.shape
    middle = full.shape[1] // 2
    assert (full != few)[:, :middle].any()  # the cloud of boxes differs, the anchors around one centre do not
    assert not (full != few)[200:, middle + 60 :].any()


def test_a_giant_box_does_not_squeeze_the_others(tmp_path: Path) -> None:
    giant = np.append(SIDES, [[4000.0, 4000.0]], axis=0)
    usual, with_giant = (
        matplotlib.image.imread(plot_anchors(sides, ANCHORS, 0.7, tmp_path / f"{len(sides)}.png"))
        for sides in (SIDES, giant)
    )
    assert (np.abs(usual - with_giant).max(axis=-1) > 0.05).mean() < 0.02


def test_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError):
        plot_anchors(SIDES, ANCHORS, 0.7, tmp_path / "file" / "anchors.png")
