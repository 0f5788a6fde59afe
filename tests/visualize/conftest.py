"""A small CT of simple shapes, and a way to look at a page before it becomes a file."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from lesion_app.visualize.page import Page


@pytest.fixture
def chest() -> np.ndarray:
    """Int16 [8, 96, 128] HU: elliptic body with two lungs in slices 4..7, air around it, a couch below."""
    y, x = np.mgrid[:96, :128]
    body = ((x - 64) / 50) ** 2 + ((y - 44) / 34) ** 2 < 1
    lungs = (((np.abs(x - 64) - 24) / 16) ** 2 + ((y - 44) / 22) ** 2) < 1
    volume = np.full((8, 96, 128), -1000, np.int16)
    volume[:, body] = 40
    volume[4:, lungs & body] = -850
    volume[:, 84:86, 10:118] = 100
    return volume


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures of the pages saved during the test, oldest first; the files are written as usual."""
    figures: list[Figure] = []
    save = Page.save

    def remember(self: Page, out):
        figures.append(self.figure)
        return save(self, out)

    monkeypatch.setattr(Page, "save", remember)
    return figures
