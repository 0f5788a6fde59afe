"""The sheet of a toy data set."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lesion_app.data.toy import ToySettings, draw_toy_image
from lesion_app.visualize.toy_sheet import draw_toy_sheet


def sheet(out, count: int = 2, **change):
    shown = [draw_toy_image("shapes", seed, ToySettings(size=96)) for seed in range(count)]
    parts = {
        "images": [t.image for t in shown],
        "masks": [t.mask for t in shown],
        "boxes": [t.box for t in shown],
        "labels": [t.label for t in shown],
    }
    return draw_toy_sheet(**{**parts, **change}, out=out)


def test_page_grows_by_rows_of_six(tmp_path):
    sizes = []
    for count in (2, 7):
        path = sheet(tmp_path / f"{count}.png", count)
        with Image.open(path) as picture:
            sizes.append(picture.size)
            assert len(np.unique(np.asarray(picture.convert("L")))) > 50
    assert sizes[0][0] < sizes[1][0]
    assert sizes[0][1] < sizes[1][1]


def test_uneven_lists_and_nothing_are_refused(tmp_path):
    with pytest.raises(ValueError, match="as many"):
        sheet(tmp_path / "a.png", labels=[1])
    with pytest.raises(ValueError, match="at least one"):
        sheet(tmp_path / "a.png", 0)
    assert not list(tmp_path.iterdir())
