from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lesion_app.inferers.slice_windows import interpolate_slices, plan_windows
from transforms.slab import cut_slab

SPACINGS = (0.5, 1, 1.25, 2, 2.5, 3, 5)
DEPTHS = (1, 2, 9, 40)


def slow_positions(z: int, depth: int, spacing: float, num_images: int, interval: float) -> list[float]:
    half = 3 * num_images // 2
    return [min(max(z + k * interval / spacing, 0.0), depth - 1.0) for k in range(-half, half + 1)]


def make_volume(depth: int) -> torch.Tensor:
    rng = np.random.default_rng(depth)
    return torch.from_numpy(rng.integers(-1000, 1000, (depth, 3, 4)).astype(np.int16))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_windows_name_the_slices_that_a_slow_loop_names(depth, spacing):
    plan = plan_windows(depth, spacing, 3, 2.0)
    for z in range(depth):
        found = plan.image_slices[plan.windows[z]].ravel()
        np.testing.assert_allclose(found, slow_positions(z, depth, spacing, 3, 2.0), atol=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_every_image_is_planned_once_and_known_until_its_last_use(depth, spacing):
    plan = plan_windows(depth, spacing, 3, 2.0)
    assert len(np.unique(plan.image_slices, axis=0)) == len(plan.image_slices)
    assert set(plan.windows.ravel()) == set(range(len(plan.image_slices)))
    for i, last in enumerate(plan.last_use):
        assert last == max(z for z in range(depth) if i in plan.windows[z])


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_slabs_are_those_that_training_cuts(depth, spacing):
    volume = make_volume(depth)
    plan = plan_windows(depth, spacing, 3, 2.0)
    for z in range(depth):
        slab = interpolate_slices(volume, plan.image_slices[plan.windows[z]]).flatten(0, 1)
        assert slab.shape == (9, 3, 4)
        assert_close(slab, cut_slab(volume, z, spacing), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("spacing", "images"), [(1.0, 40 + 2 * 6), (2.0, 40 + 2 * 3), (5.0, 3 * 40)])
def test_work_is_shared_where_the_spacing_divides_the_distance_of_images(spacing, images):
    # images lie 6 mm apart: 6 slices of 1 mm, 3 slices of 2 mm; 5 mm slices share none
    assert len(plan_windows(40, spacing, 3, 2.0).image_slices) <= images


@pytest.mark.parametrize("num_images", [1, 5])
def test_other_slab_sizes_follow_the_same_rule(num_images):
    plan = plan_windows(20, 2.0, num_images, 2.0)
    found = plan.image_slices[plan.windows[10]].ravel()
    np.testing.assert_allclose(found, slow_positions(10, 20, 2.0, num_images, 2.0))


def test_interpolation_equals_a_slow_loop():
    volume = make_volume(7)
    positions = np.array([[0.0, 0.25, 5.999], [6.0, 3.0, 2.5]])
    found = interpolate_slices(volume, positions)
    for place in np.ndindex(2, 3):
        low = math.floor(positions[place])
        weight = positions[place] - low
        wanted = (1 - weight) * volume[low].float() + weight * volume[min(low + 1, 6)].float()
        assert_close(found[place], wanted, atol=1e-3, rtol=0)


def test_slices_at_whole_positions_are_exact_and_float():
    volume = make_volume(5)
    found = interpolate_slices(volume, np.array([4.0, 0.0]))
    assert found.dtype == torch.float32
    assert torch.equal(found, volume[[4, 0]].float())


@pytest.mark.parametrize("wrong", [(0, 1.0, 3, 2.0), (5, 0.0, 3, 2.0), (5, float("nan"), 3, 2.0), (5, 1.0, 3, -1.0)])
def test_values_that_are_not_positive_are_refused(wrong):
    with pytest.raises(ValueError, match="must be positive"):
        plan_windows(*wrong)
