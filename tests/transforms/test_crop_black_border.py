"""The crop to the body keeps body and boxes, and drops air, noise and a thin table."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from transforms import CropBlackBorder, CropBlackBorderd, View


def body(slices=3, height=80, width=100):
    image = torch.full((slices, height, width), -1000.0)
    image[:, 20:60, 30:75] = 40
    return image


def test_air_is_cropped_to_the_body():
    image, view = CropBlackBorder()(body())
    assert image.shape == (3, 40, 45)
    assert view == View(shift_x=-30, shift_y=-20)
    assert (image == 40).all()


def test_noise_and_thin_table_are_dropped():
    image = body()
    image[:, 70:73, :] = 200
    image[:, torch.randint(0, 80, (40,)), torch.randint(0, 100, (40,))] = 100
    image[:, 20:60, 30:75] = 40
    cropped, view = CropBlackBorder()(image)
    assert cropped.shape == (3, 40, 45)
    assert view == View(shift_x=-30, shift_y=-20)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [3, 4, 7])
def test_bounds_equal_those_of_a_plain_opening(seed, size):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(60, 70)), 4)
    mask = smooth > np.quantile(smooth, 0.8)
    # The union of the size x size squares inside mask and image, drawn one by one.
    opened = np.zeros_like(mask)
    for y in range(60 - size + 1):
        for x in range(70 - size + 1):
            if mask[y : y + size, x : x + size].all():
                opened[y : y + size, x : x + size] = True
    rows, columns = np.flatnonzero(opened.any(1)), np.flatnonzero(opened.any(0))
    image = torch.from_numpy(np.where(mask, 0.0, -1000.0))[None]
    cropped, view = CropBlackBorder(opening_px=size)(image)
    assert view == View(shift_x=-columns[0], shift_y=-rows[0])
    assert cropped.shape[1:] == (rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0])


def test_margin_stops_at_the_image():
    image, view = CropBlackBorder(margin_px=25)(body())
    assert image.shape == (3, 80, 95)
    assert view == View(shift_x=-5)


def test_slab_is_judged_by_its_middle_slice_and_volume_by_all():
    image = body(slices=5)
    image[0, 5:15, 2:12] = 0
    assert CropBlackBorder()(image)[1] == View(shift_x=-30, shift_y=-20)
    cropped, view = CropBlackBorder(body_slices="all")(image)
    assert view == View(shift_x=-2, shift_y=-5)
    assert cropped.shape == (5, 55, 73)


def test_boxes_outside_the_body_are_held_and_moved():
    item = {
        "image": body(),
        "view": View(),
        "boxes": [[10.5, 30.0, 40.0, 50.0]],
        "ignore": torch.tensor([[40.0, 50.0, 80.0, 84.3]]),
        "truth_boxes": [],
    }
    out = CropBlackBorderd()(item)
    assert out["view"] == View(shift_x=-10, shift_y=-20)
    assert out["image"].shape == (3, 60, 70)
    assert out["boxes"].tolist() == [[0.5, 10.0, 30.0, 30.0]]
    assert out["ignore"][0, :3].tolist() == [30.0, 30.0, 70.0]
    assert out["truth_boxes"].shape == (0, 4)


def test_what_is_cut_does_not_depend_on_the_truth():
    item = {"image": body(), "view": View(), "boxes": [[30.0, 40.0, 40.0, 50.0]], "ignore": []}
    without = CropBlackBorderd()(item)
    out = CropBlackBorderd()({**item, "truth_boxes": [[1.0, 1.0, 8.0, 8.0]]})
    assert out["view"] == without["view"]
    assert torch.equal(out["image"], without["image"])
    assert out["truth_boxes"][0, 0] == 1.0 + out["view"].shift_x


def test_without_a_body_nothing_is_cropped():
    air = torch.full((3, 20, 20), -1000, dtype=torch.int16)
    image, view = CropBlackBorder()(air)
    assert image.shape == air.shape
    assert view == View()
    assert CropBlackBorder()(torch.zeros(1, 5, 5))[1] == View()


def test_crop_does_not_hold_the_large_image():
    image, _ = CropBlackBorder()(body().to(torch.int16))
    assert image.dtype == torch.int16
    assert image.untyped_storage().nbytes() == image.numel() * 2


@pytest.mark.parametrize("wrong", [{"body_slices": "some"}, {"opening_px": 0}, {"margin_px": -1}])
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        CropBlackBorder(**wrong)
