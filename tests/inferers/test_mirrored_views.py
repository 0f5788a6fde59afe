"""Test-time mirroring behind the detector protocol."""

from __future__ import annotations

import pytest
import torch

from lesion_app.inferers.mirrored_views import MirroredViews
from tests.inferers.seeing_networks import BrightestPixel, LeftOnly, spot


def test_all_mirrors_find_the_same_place_in_the_images_own_pixels():
    network = BrightestPixel(masks=True)
    model = MirroredViews(network, ("", "x", "y", "xy", "xyz")).eval()
    (first, second) = model([spot(2, 5), spot(8, 0)])
    assert first["boxes"].tolist() == [[2, 5, 3, 6]]
    assert second["boxes"].tolist() == [[8, 0, 9, 1]]
    assert first["scores"].tolist() == pytest.approx([0.8])
    assert first["masks"].shape == (1, 1, 7, 9)
    assert torch.nonzero(first["masks"][0, 0]).tolist() == [[5, 2]]
    assert network.looked == 5


def test_volumes_are_mirrored_along_z_too():
    volume = torch.zeros(1, 5, 7, 9)
    volume[0, 4, 1, 2] = 1
    network = BrightestPixel(dims=3, masks=True)
    (found,) = MirroredViews(network, ("", "z", "xz", "xyz")).eval()([volume])
    assert found["boxes"].tolist() == [[2, 1, 4, 3, 2, 5]]
    assert torch.nonzero(found["masks"][0, 0]).tolist() == [[4, 1, 2]]


def test_object_that_half_of_the_views_miss_loses_half_of_its_score():
    model = MirroredViews(LeftOnly(0.8), ("", "x")).eval()
    assert model([spot(2, 5)])[0]["scores"].item() == pytest.approx(0.4)


def test_mirroring_twice_along_an_axis_is_not_mirroring():
    model = MirroredViews(MirroredViews(BrightestPixel(), ("x",)), ("", "x"))
    assert [look.mirrored for look in model.looks()] == ["x", ""]


@pytest.mark.parametrize("mirrors", [(), ("", ""), ("w",), ("xx",), ("xy", "yx")])
def test_views_that_are_none_or_twice_the_same_are_refused(mirrors):
    with pytest.raises(ValueError, match="mirrors"):
        MirroredViews(BrightestPixel(), mirrors)


def test_slab_turned_along_z_keeps_the_place_in_its_middle_slice():
    seen = []

    class Remembers(BrightestPixel):
        def forward(self, images, targets=None):
            seen.append(images[0].clone())
            return super().forward(images)

    slab = torch.stack([torch.full((7, 9), -1.0), spot(2, 5)[1], torch.full((7, 9), -2.0)])
    (found,) = MirroredViews(Remembers(), ("", "z")).eval()([slab])
    assert found["boxes"].tolist() == [[2, 5, 3, 6]]
    assert torch.equal(seen[1], slab.flip(0))
