"""Pages: where things land, atomic writing, and no traces in matplotlib's global state."""

from __future__ import annotations

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from lesion_app.errors import InputError
from lesion_app.visualize.page import Page


def test_inches_from_the_top_left_corner_become_pixels():
    page = Page(2.0, 1.0, dpi=100)
    axes = page.axes(0.5, 0.25, 1.0, 0.5)
    axes.axis("off")
    axes.imshow(np.zeros((2, 4, 3), np.uint8), aspect="auto")
    ink = np.argwhere(page.pixels().max(axis=-1) < 10)
    assert page.pixels().shape == (100, 200, 3)
    assert ink.min(axis=0).tolist() == [25, 50]
    assert ink.max(axis=0).tolist() == [74, 149]


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_a_page_is_written_whole_with_its_folder_and_nothing_beside_it(tmp_path, suffix):
    out = Page(1, 1).save(tmp_path / "new" / f"page{suffix}")
    assert out.stat().st_size > 100
    assert [p.name for p in out.parent.iterdir()] == [out.name]


def test_a_failed_drawing_keeps_the_older_picture(tmp_path, monkeypatch):
    out = Page(1, 1).save(tmp_path / "page.png")
    before = out.read_bytes()
    page = Page(2, 2)

    def fail(stream, **_):
        raise RuntimeError("disk full")

    monkeypatch.setattr(page.figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        page.save(out)
    assert out.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["page.png"]


@pytest.mark.parametrize("name", ["page.jpg", "page"])
def test_an_unknown_suffix_is_an_input_error(tmp_path, name):
    with pytest.raises(InputError, match=r"expected one of \.png, \.pdf, \.svg"):
        Page(1, 1).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Page(1, 1).save(tmp_path / "file" / "page.png")


def test_drawing_leaves_rc_params_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    page = Page(2, 2)
    page.text(0.1, 0.1, "text")
    page.save(tmp_path / "page.png")
    assert dict(matplotlib.rcParams) == before


def test_the_same_page_is_the_same_file(tmp_path):
    files = []
    for name in ("a.png", "b.png"):
        page = Page(2, 1)
        page.text(0.2, 0.2, "lesions")
        files.append(page.save(tmp_path / name).read_bytes())
    assert files[0] == files[1]
    assert Image.open(tmp_path / "a.png").size == (220, 110)


def test_no_picture_needs_pyplot_or_a_display():
    modules = "froc_plot, lesion_sheet, mining_overlay, phantom_sheet, training_curves"
    code = f"from lesion_app.visualize import {modules}; import sys; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": "", "DISPLAY": ""})
