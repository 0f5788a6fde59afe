"""Masks of a prepared volume, as they are and as a view shows them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lesion_app.data.mask_series import write_mask_series
from lesion_app.errors import InputError
from transforms.load_lesion_masks import LoadLesionMasks, LoadLesionMasksd, masks_in_view
from transforms.view import View


@pytest.fixture
def folder(tmp_path):
    mask = np.zeros((3, 4, 5), dtype=np.uint16)
    mask[2, 1, 2], mask[2, 3, 4] = 1, 3  # z = 2 is the head's slice: 001
    write_mask_series(mask, tmp_path / "masks")
    return tmp_path / "masks"


def test_masks_follow_the_lesions_asked_for(folder):
    masks = LoadLesionMasks()(folder, 1, [2, 0, 1, None])
    assert masks is not None
    assert masks.dtype == torch.uint8
    assert [m.nonzero().tolist() for m in masks] == [[[3, 4]], [[1, 2]], [], []]
    assert LoadLesionMasks()(folder, 2, [0]) is None
    (folder / "002.png").write_text("no picture")
    with pytest.raises(InputError, match=r"002\.png"):
        LoadLesionMasks()(folder, 2, [0])


def test_items_without_masks_pass_unchanged(folder):
    load = LoadLesionMasksd()
    full = {"mask_folder": folder, "slice": 1, "lesions": [0]}
    assert load(full)["masks"].shape == (1, 4, 5)
    for item in ({"slice": 1, "lesions": [0]}, {**full, "slice": 3}, {**full, "lesions": []}, {"mask_folder": folder}):
        assert load(item) == item


def test_view_moves_masks_as_it_moves_boxes():
    masks = torch.zeros(1, 6, 8, dtype=torch.uint8)
    masks[0, 2:4, 3:6] = 1
    for view, size in (
        (View(), (6, 8)),
        (View(2.0, 2.0, 1.0, -2.0), (12, 16)),
        (View(1.0, 1.0, -3.0, -2.0), (4, 5)),
        (View(0.5, 1.0), (6, 4)),
    ):
        seen = masks_in_view(masks, view, size)
        assert seen.shape == (1, *size)
        x1, y1, x2, y2 = view.apply(torch.tensor([[3.0, 2.0, 6.0, 4.0]]))[0].tolist()
        expected = torch.zeros(size, dtype=torch.uint8)
        for row in range(size[0]):
            for column in range(size[1]):
                middle = column + 0.5, row + 0.5
                # a middle on the very edge of an original pixel belongs to the pixel that begins there
                expected[row, column] = x1 <= middle[0] < x2 and y1 <= middle[1] < y2
        assert torch.equal(seen[0], expected)


def test_outside_of_the_original_slice_is_empty():
    masks = torch.ones(2, 3, 3, dtype=torch.uint8)
    seen = masks_in_view(masks, View(1.0, 1.0, 1.0, 2.0), (6, 5))
    assert seen[0].tolist() == [[0] * 5, [0] * 5, *[[0, 1, 1, 1, 0]] * 3, [0] * 5]
