"""The network grid against every orientation a file can have."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest

from lesion_app.errors import InputError
from transforms.geometry import VolumeGeometry

ORIENTATIONS = [
    (axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


def file_affine(axes, signs, spacing=(0.7, 0.8, 2.5), origin=(11.0, -22.0, 33.0)):
    """Affine of a file whose axis f runs along LPS axis ``axes[f]`` with sign ``signs[f]``."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for f, (axis, sign) in enumerate(zip(axes, signs)):
        affine[axis, f] = sign * spacing[axis]
    affine[:3, 3] = origin
    return affine


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_every_voxel_keeps_its_place_in_the_patient(axes, signs):
    affine = file_affine(axes, signs)
    geometry = VolumeGeometry.from_file_grid((4, 5, 6), affine)
    depth, height, width = geometry.shape_zyx
    index = np.array([[x, y, z, 1] for x in range(width) for y in range(height) for z in range(depth)], dtype=float)
    in_file = index @ geometry.network_to_file.T
    assert sorted(map(tuple, in_file[:, :3].astype(int))) == sorted(itertools.product(range(4), range(5), range(6)))
    np.testing.assert_allclose(index @ geometry.affine_lps.T, in_file @ affine.T, atol=1e-9)
    np.testing.assert_allclose(geometry.affine_lps[:3, :3], np.diag([0.7, 0.8, 2.5]), atol=1e-12)
    assert geometry.spacing_mm == pytest.approx((0.7, 0.8, 2.5))


def test_oblique_file_keeps_its_nearest_axes():
    angle = np.radians(40)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.7, 0.8, 2.0])
    geometry = VolumeGeometry.from_file_grid((10, 20, 30), affine)
    assert geometry.file_axes == (0, 1, 2)
    assert geometry.flipped == (True, False, False)
    assert geometry.spacing_mm == pytest.approx((0.7, 0.8, 2.0))


def test_box_in_a_flipped_file_is_the_literal_half_open_box():
    geometry = VolumeGeometry.from_file_grid((10, 20, 30), np.diag([-1.0, 1.0, -1.0, 1.0]))
    boxes = np.array([[0, 0, 0, 1, 1, 1], [2, 3, 4, 5, 7, 9]])
    expected = [[9, 0, 29, 10, 1, 30], [5, 3, 21, 8, 7, 26]]
    assert geometry.boxes_to_file_grid(boxes).tolist() == expected


def test_box_of_a_coronal_file_comes_out_in_the_files_axis_order():
    # File axes: i to the left, j to superior, k to anterior.
    geometry = VolumeGeometry.from_file_grid((10, 20, 30), file_affine((0, 2, 1), (1, 1, -1)))
    assert geometry.shape_zyx == (20, 30, 10)
    assert geometry.boxes_to_file_grid([[1, 2, 3, 4, 6, 8]]).tolist() == [[1, 3, 24, 4, 8, 28]]


def test_box_in_mm_reaches_the_outer_voxel_faces():
    geometry = VolumeGeometry.from_file_grid((10, 10, 10), file_affine((0, 1, 2), (1, 1, 1)))
    np.testing.assert_allclose(
        geometry.boxes_to_lps([[0, 0, 0, 1, 1, 1]]), [[10.65, -22.4, 31.75, 11.35, -21.6, 34.25]]
    )


def test_box_of_an_oblique_volume_bounds_its_corners():
    angle = np.radians(30)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    geometry = VolumeGeometry.from_file_grid((10, 10, 10), affine)
    low, high = geometry.boxes_to_lps([[0.5, 0.5, 0.5, 2.5, 2.5, 2.5]]).reshape(2, 3)
    np.testing.assert_allclose(low, [-2 * np.sin(angle), 0, 0], atol=1e-12)
    np.testing.assert_allclose(high, [2 * np.cos(angle), 2 * np.cos(angle) + 2 * np.sin(angle), 2], atol=1e-12)


def test_no_boxes_stay_no_boxes():
    geometry = VolumeGeometry.from_file_grid((4, 4, 4), np.eye(4))
    assert geometry.boxes_to_file_grid(np.empty((0, 6))).shape == (0, 6)
    assert geometry.boxes_to_lps([]).shape == (0, 6)


@pytest.mark.parametrize(("axes", "signs"), [((0, 1, 2), (1, 1, -1)), ((2, 0, 1), (-1, 1, 1))])
def test_run_of_slices_keeps_its_place_in_file_and_patient(axes, signs):
    affine = file_affine(axes, signs)
    whole = VolumeGeometry.from_file_grid((8, 9, 10), affine)
    part = VolumeGeometry.from_file_grid((8, 9, 10), affine, (2, 5))
    assert part.first_slice_number == 2
    assert part.shape_zyx == (4, *whole.shape_zyx[1:])
    in_part, in_whole = [[1, 2, 0, 3, 4, 2]], [[1, 2, 2, 3, 4, 4]]
    np.testing.assert_array_equal(part.boxes_to_file_grid(in_part), whole.boxes_to_file_grid(in_whole))
    np.testing.assert_allclose(part.boxes_to_lps(in_part), whole.boxes_to_lps(in_whole))


def test_run_outside_the_volume_is_refused():
    with pytest.raises(InputError, match="slices 0 to 9"):
        VolumeGeometry.from_file_grid((8, 9, 10), np.eye(4), (5, 10))


@pytest.mark.parametrize("broken", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([1.0, 1.0, 0.0, 1.0])])
def test_degenerate_grid_is_refused(broken):
    with pytest.raises(InputError, match="spacing or orientation"):
        VolumeGeometry.from_file_grid((4, 4, 4), broken)


def test_sheared_grid_is_refused():
    affine = np.eye(4)
    affine[1, 2] = np.tan(np.radians(2))
    with pytest.raises(InputError, match="perpendicular"):
        VolumeGeometry.from_file_grid((4, 4, 4), affine)


def test_matrices_cannot_be_changed():
    geometry = VolumeGeometry.from_file_grid((4, 4, 4), np.eye(4))
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine_lps[0, 0] = 2


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS[::5])
def test_orientation_agrees_with_nibabel_canonical(axes, signs):
    data = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(data, to_ras @ file_affine(axes, signs)))
    expected = np.asarray(canonical.dataobj)[::-1, ::-1].transpose(2, 1, 0)
    geometry = VolumeGeometry.from_file_grid((4, 5, 6), file_affine(axes, signs))
    z, y, x = np.indices(geometry.shape_zyx).reshape(3, -1)
    i, j, k = (geometry.network_to_file @ np.stack([x, y, z, np.ones_like(x)]))[:3].astype(int)
    np.testing.assert_array_equal(data[i, j, k], expected.ravel())
