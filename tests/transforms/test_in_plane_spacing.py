"""Resampling in plane, with its boxes and view."""

from __future__ import annotations

import pytest
import torch

from transforms import InPlaneSpacing, InPlaneSpacingd, View


def centre_of_mass(image):
    """Edge-convention centre (x, y) of a non-negative image [H, W]."""
    y, x = torch.meshgrid(torch.arange(image.shape[0]) + 0.5, torch.arange(image.shape[1]) + 0.5, indexing="ij")
    return float((x * image).sum() / image.sum()), float((y * image).sum() / image.sum())


def test_size_and_exact_scale_follow_the_spacing():
    image, view = InPlaneSpacing()(torch.zeros(9, 101, 203), (0.6, 0.7))
    assert image.shape == (9, 88, 152)
    assert view == View(152 / 203, 88 / 101)


def test_longest_side_is_capped_for_both_axes():
    image, view = InPlaneSpacing(0.8, 512)(torch.zeros(1, 512, 400), (0.976, 0.976))
    assert image.shape == (1, 512, 400)
    assert view == View()
    image, view = InPlaneSpacing(0.8, 512)(torch.zeros(1, 300, 768), (1.0, 1.0))
    assert image.shape == (1, 200, 512)
    assert view == View(512 / 768, 200 / 300)


@pytest.mark.parametrize("spacing", [0.35, 0.65, 0.8, 0.977, 1.4])
def test_bright_square_lands_where_the_view_says(spacing):
    image = torch.zeros(3, 160, 200)
    box = torch.tensor([[57.0, 93.0, 66.0, 101.0]])
    image[1, 93:101, 57:66] = 1000
    item = InPlaneSpacingd()(
        {"image": image, "view": View(), "spacing_mm": (spacing, spacing, 5.0), "boxes": box.tolist(), "ignore": []}
    )
    x, y = centre_of_mass(item["image"][1])
    (x1, y1, x2, y2), *rest = item["boxes"].tolist()
    assert not rest
    assert (x, y) == pytest.approx(((x1 + x2) / 2, (y1 + y2) / 2), abs=0.1)
    torch.testing.assert_close(item["view"].invert(item["boxes"]), box, atol=1e-3, rtol=0)
    assert item["ignore"].shape == (0, 4)


def test_int16_volume_stays_int16_and_equals_the_rounded_float_result():
    volume = torch.randint(-1000, 1000, (37, 40, 50), dtype=torch.int16, generator=torch.Generator().manual_seed(0))
    small, _ = InPlaneSpacing()(volume, (0.5, 0.5))
    floats, _ = InPlaneSpacing()(volume.float(), (0.5, 0.5))
    assert small.dtype == torch.int16
    assert torch.equal(small, floats.round().to(torch.int16))


def test_spacing_of_an_already_scaled_view_is_taken_into_account():
    item = {"image": torch.zeros(1, 100, 100), "view": View(2.0, 2.0, -4.0, 0.0), "spacing_mm": (0.8, 0.8, 2.0)}
    out = InPlaneSpacingd()(item)
    assert out["image"].shape == (1, 50, 50)
    assert out["view"] == View(1.0, 1.0, -2.0, 0.0)


def test_shrinking_averages_instead_of_skipping():
    image = torch.zeros(1, 64, 64)
    image[:, ::4] = 100
    small, _ = InPlaneSpacing()(image, (0.2, 0.2))
    assert small.shape == (1, 16, 16)
    assert small.std() < 5
    assert float(small.mean()) == pytest.approx(25, abs=2)


def test_two_image_keys_are_refused():
    with pytest.raises(ValueError, match="one image key"):
        InPlaneSpacingd(keys=["image", "other"])


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="positive"):
        InPlaneSpacing(0.0)
