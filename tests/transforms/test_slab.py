"""Slabs: which slices are mixed, and with which weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transforms.slab import cut_slab, neighbour_weights


def test_each_neighbour_has_its_own_weights_at_5_mm():
    lower, upper, weight = neighbour_weights(10, 9, 2.0, 5.0, 100)
    assert lower.tolist() == [8, 8, 9, 9, 10, 10, 10, 11, 11]
    assert upper.tolist() == [9, 9, 10, 10, 10, 11, 11, 12, 12]
    # MULAN reuses .4/.6 for all four distances; published numbers of the mended rule:
    ceil_above = weight[5:].tolist()
    assert ceil_above == pytest.approx([0.4, 0.8, 0.2, 0.6])
    assert [1 - w for w in ceil_above] == pytest.approx([0.6, 0.2, 0.8, 0.4])
    assert weight[:4].tolist() == pytest.approx([0.4, 0.8, 0.2, 0.6])


def test_data_on_the_grid_are_not_mixed():
    for spacing in (2.0, 1.0, 0.4, 0.1, 0.25):
        lower, upper, weight = neighbour_weights(200, 9, 2.0, spacing, 400)
        assert lower.tolist() == upper.tolist() == [200 + round(k * 2 / spacing) for k in range(-4, 5)]
        assert not weight.any()


def test_ends_of_the_volume_repeat_the_end_slice():
    lower, upper, weight = neighbour_weights(0, 9, 2.0, 2.0, 3)
    assert lower.tolist() == [0, 0, 0, 0, 0, 1, 2, 2, 2]
    assert upper.tolist() == lower.tolist()
    assert not weight.any()


def test_single_slice_volume_gives_a_slab():
    volume = torch.full((1, 2, 2), 7, dtype=torch.int16)
    assert cut_slab(volume, 0, 5.0).tolist() == torch.full((9, 2, 2), 7.0).tolist()


def test_fractional_centre_and_even_count():
    volume = torch.arange(20, dtype=torch.int16)[:, None, None].expand(20, 1, 1)
    slab = cut_slab(volume, 9.5, 1.0, num_slices=4, interval_mm=2.0)
    assert slab.flatten().tolist() == pytest.approx([6.5, 8.5, 10.5, 12.5])


@pytest.mark.parametrize("spacing", [0.25, 0.6, 1.0, 1.25, 2.5, 3.0, 5.0, 8.0])
def test_slab_equals_interpolation_along_z(spacing):
    depth = 13
    volume = torch.randn(depth, 3, 4, generator=torch.Generator().manual_seed(0))
    for centre in (0, 3, 6.3, 12):
        at = centre + np.arange(-4, 5) * 2.0 / spacing
        expected = np.empty((9, 3, 4))
        for y in range(3):
            for x in range(4):
                # np.interp repeats the end values outside.
                expected[:, y, x] = np.interp(at, np.arange(depth), volume[:, y, x].numpy())
        np.testing.assert_allclose(cut_slab(volume, centre, spacing), expected, atol=1e-5)


def test_many_centres_equal_one_by_one():
    volume = torch.randint(-1000, 1000, (11, 4, 5), dtype=torch.int16, generator=torch.Generator().manual_seed(1))
    centres = torch.tensor([0.0, 4.0, 7.5, 10.0])
    together = cut_slab(volume, centres, 1.5, num_slices=5)
    assert together.shape == (4, 5, 4, 5)
    assert together.dtype == torch.float32
    for slab, centre in zip(together, centres.tolist()):
        torch.testing.assert_close(slab, cut_slab(volume, centre, 1.5, num_slices=5))


def test_volume_is_left_alone():
    volume = torch.randn(5, 2, 2, generator=torch.Generator().manual_seed(2))
    before = volume.clone()
    cut_slab(volume, 2, 1.7)
    assert torch.equal(volume, before)


@pytest.mark.parametrize("wrong", [(0, 0, 2.0, 1.0, 5), (0, 9, 0.0, 1.0, 5), (0, 9, 2.0, -1.0, 5), (0, 9, 2.0, 1.0, 0)])
def test_counts_and_distances_must_be_positive(wrong):
    with pytest.raises(ValueError, match="positive"):
        neighbour_weights(*wrong)
