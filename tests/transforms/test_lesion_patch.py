"""Patches of a fixed grid: plain windows where spacings agree, the same anatomy where they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from transforms.candidate_patch import RandCandidatePatchd
from transforms.ct_reader import open_ct
from transforms.lesion_patch import PatchGrid

GRID = PatchGrid(num_slices=4, interval_mm=2.0, size_px=16, pixel_mm=1.0)


@pytest.fixture
def volume():
    return torch.randint(-1000, 1000, (9, 40, 50), generator=torch.Generator().manual_seed(0)).to(torch.int16)


@pytest.fixture
def folder(tmp_path, volume):
    """The volume as DeepLesion's PNG slices 11 to 19."""
    for number, plane in enumerate(volume.numpy(), start=11):
        Image.fromarray((plane.astype(np.int32) + 32768).astype(np.uint16)).save(tmp_path / f"{number:03d}.png")
    return tmp_path


def test_patch_on_the_volumes_own_grid_is_a_window(volume):
    patch = GRID.cut(volume, (20, 18, 5), (1.0, 1.0, 2.0))
    assert patch.dtype == torch.float32
    torch.testing.assert_close(patch, volume[3:7, 10:26, 12:28].float(), atol=1e-2, rtol=0)


def test_beyond_the_ends_slices_repeat_and_beyond_the_sides_is_air(volume):
    patch = GRID.cut(volume, (2, 39, 8), (1.0, 1.0, 2.0))
    expected = torch.full((4, 16, 16), -1024.0)
    expected[:, :9, 6:] = volume[[6, 7, 8, 8], 31:40, :10].float()
    torch.testing.assert_close(patch, expected, atol=1e-2, rtol=0)


def test_slices_between_two_are_interpolated_at_their_distance_in_mm(volume):
    patch = GRID.cut(volume, (20, 18, 4.5), (1.0, 1.0, 4.0))  # half a slice of the volume a step
    plane = volume[:, 10:26, 12:28].float()
    expected = torch.stack([plane[3] * 0.75 + plane[4] * 0.25] * 4)
    for k, position in enumerate((3.25, 3.75, 4.25, 4.75)):
        low = int(position)
        expected[k] = plane[low] * (low + 1 - position) + plane[low + 1] * (position - low)
    torch.testing.assert_close(patch, expected, atol=1e-2, rtol=0)


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 1.0), (0.7, 0.8, 2.5), (1.6, 1.6, 2.0)])
def test_ball_keeps_its_place_and_size_in_mm(spacing):
    shape = [round(length / s) for length, s in zip((48, 56, 60), spacing[::-1])]
    z, y, x = torch.meshgrid(*((torch.arange(n) + 0.5) * s for n, s in zip(shape, spacing[::-1])), indexing="ij")
    ball = torch.where((x - 30) ** 2 + (y - 26) ** 2 + (z - 24) ** 2 < 5**2, 1000, 0)
    grid = PatchGrid(num_slices=16, interval_mm=1.0, size_px=24, pixel_mm=1.0)
    centre = (30 / spacing[0], 26 / spacing[1], 24 / spacing[2])
    patch = grid.cut(ball, centre, spacing)
    weight = patch / patch.sum()
    for axis, middle in enumerate((8, 12, 12)):
        position = torch.arange(patch.shape[axis]) + 0.5
        along = weight.sum(dim=[a for a in range(3) if a != axis])
        assert (along * position).sum() == pytest.approx(middle, abs=0.15)
    assert patch.sum() / 1000 == pytest.approx(4 / 3 * np.pi * 5**3, rel=0.08)
    box = torch.tensor(
        [[25 / spacing[0], 21 / spacing[1], 19 / spacing[2]] + [35 / spacing[0], 31 / spacing[1], 29 / spacing[2]]]
    )
    found = grid.boxes_in(box, torch.tensor([centre]), spacing)
    torch.testing.assert_close(found, torch.tensor([[7.0, 7.0, 3.0, 17.0, 17.0, 13.0]]))


def test_opened_ct_gives_the_patch_of_its_volume_reading_only_what_it_needs(folder, volume, monkeypatch):
    source = open_ct(folder, spacing_mm=(1.0, 1.0, 1.0))
    read, real = [], type(source).read

    def watched(self, indices=None):
        read.extend(indices)
        return real(self, indices)

    monkeypatch.setattr(type(source), "read", watched)
    for grid in (GRID, replace(GRID, pixel_mm=1.7)):
        found = grid.cut(source, (3.3, 20.2, 4.5), (1.0, 1.0, 1.0))
        torch.testing.assert_close(found, grid.cut(volume, (3.3, 20.2, 4.5), (1.0, 1.0, 1.0)))
    assert sorted(set(read)) == [1, 3, 5, 7]


def test_candidate_outside_the_volume_is_air_and_no_error(volume):
    assert (GRID.cut(volume, (500, 18, 5), (1.0, 1.0, 2.0)) == -1024).all()


@pytest.mark.parametrize("wrong", [{"num_slices": 0}, {"size_px": 0}, {"interval_mm": 0.0}, {"pixel_mm": -1.0}])
def test_grids_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match="positive numbers"):
        PatchGrid(**wrong)


def item(folder):
    return {
        "image": str(folder),
        "spacing_mm": [1.0, 1.0, 2.0],
        "slices": [12, 19],
        "candidate": [18.0, 15.0, 3.0, 22.0, 21.0, 5.0],
    }


def test_candidate_is_loaded_in_the_middle_of_its_patch(folder, volume):
    plain = RandCandidatePatchd(GRID, (1.0, 1.0), 0.0, 0.0)
    found = plain(item(folder))
    # slice 12 is the first of the run and the second of the folder
    torch.testing.assert_close(found["patch"][0], volume[3:7, 10:26, 12:28].float(), atol=1e-2, rtol=0)
    assert found["roi"].tolist() == [6, 5, 1, 10, 11, 3]
    assert found["roi"].dtype == torch.float32


def test_patch_is_turned_over_about_its_candidate(folder):
    data = item(folder) | {"candidate": [18.0, 15.0, 3.0, 22.0, 21.0, 6.0]}
    plain = RandCandidatePatchd(GRID, (1.0, 1.0), 0.0, 0.0)(data)
    turned = RandCandidatePatchd(GRID, (1.0, 1.0), 0.0, 1.0)(data)
    torch.testing.assert_close(turned["patch"], plain["patch"].flip(1))
    assert plain["roi"].tolist() == turned["roi"].tolist() == [6, 5, 0.5, 10, 11, 3.5]


def test_random_look_shows_the_same_voxels_in_the_box(folder, volume):
    flat = torch.zeros_like(volume)
    flat[4:6, 15:21, 18:22] = 1000
    for number, plane in enumerate(flat.numpy(), start=11):
        Image.fromarray((plane.astype(np.int32) + 32768).astype(np.uint16)).save(folder / f"{number:03d}.png")
    looks = RandCandidatePatchd(GRID, (0.8, 1.25), 3.0, 0.5)
    looks.set_random_state(0)
    rois = []
    for _ in range(6):
        found = looks(item(folder))
        x1, y1, z1, x2, y2, z2 = found["roi"].tolist()
        rois.append(found["roi"])
        bright = found["patch"][0]
        assert bright.sum() / 1000 == pytest.approx((x2 - x1) * (y2 - y1) * (z2 - z1), rel=0.06)
        for axis, middle in ((2, (x1 + x2) / 2), (1, (y1 + y2) / 2), (0, (z1 + z2) / 2)):
            along = bright.sum(dim=[a for a in range(3) if a != axis]) / bright.sum()
            assert (along * (torch.arange(len(along)) + 0.5)).sum() == pytest.approx(middle, abs=0.1)
    assert torch.stack(rois)[:, 0].std() > 0.5
    again = RandCandidatePatchd(GRID, (0.8, 1.25), 3.0, 0.5)
    again.set_random_state(0)
    assert torch.equal(again(item(folder))["roi"], rois[0])


@pytest.mark.parametrize("wrong", [((0.0, 1.0), 0.0, 0.0), ((1.2, 0.8), 0.0, 0.0), ((1, 1), -1.0, 0), ((1, 1), 0, 2.0)])
def test_ranges_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match="low <= high scale"):
        RandCandidatePatchd(GRID, *wrong)
