from pathlib import Path

import numpy as np
import pytest

from lesion_app.errors import InputError
from lesion_app.labeling.box_masks import paint_ellipsoids, read_mask, read_mask_rois, write_mask
from lesion_app.labeling.roi_markups import LesionRoi
from transforms.geometry import VolumeGeometry

# file axes (i, j, k) = (z down, x, y), so that axes are swapped and flipped on the way
AFFINE = np.array([[0, -0.8, 0, 30.0], [0, 0, 0.9, -20.0], [-3.0, 0, 0, 50.0], [0, 0, 0, 1]])
GEOMETRY = VolumeGeometry.from_file_grid((9, 40, 32), AFFINE)


def roi(box: tuple[float, ...], score: float | None = None) -> LesionRoi:
    return LesionRoi(tuple(GEOMETRY.boxes_to_lps([box])[0].tolist()), score=score)  # type: ignore[arg-type]


def test_ellipsoid_fills_its_box_and_nothing_beyond() -> None:
    volume = paint_ellipsoids([roi((4, 6, 2, 15, 17, 7))], GEOMETRY, [3])
    z, y, x = np.nonzero(volume)
    assert set(np.unique(volume)) == {0, 3}
    assert (x.min(), x.max(), y.min(), y.max(), z.min(), z.max()) == (4, 14, 6, 16, 2, 6)
    reference = sum(
        ((i + 0.5 - 9.5) / 5.5) ** 2 + ((j + 0.5 - 11.5) / 5.5) ** 2 + ((k + 0.5 - 4.5) / 2.5) ** 2 <= 1
        for i in range(40)
        for j in range(32)
        for k in range(9)
    )
    assert len(x) == reference


def test_tiny_box_colours_one_voxel_and_outside_none() -> None:
    volume = paint_ellipsoids([roi((4.1, 6.1, 2.1, 4.3, 6.3, 2.3)), roi((90, 6, 2, 95, 9, 4))], GEOMETRY, [1, 2])
    assert np.argwhere(volume).tolist() == [[2, 6, 4]]


def test_better_scored_box_is_seen() -> None:
    boxes = [roi((4, 4, 2, 10, 10, 6), 0.9), roi((4, 4, 2, 10, 10, 6), 0.2)]
    assert set(np.unique(paint_ellipsoids(boxes, GEOMETRY, [1, 2]))) == {0, 1}


@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.nrrd"])
def test_mask_comes_back_voxel_by_voxel(tmp_path: Path, name: str) -> None:
    volume = np.random.default_rng(0).integers(0, 3, GEOMETRY.shape_zyx).astype(np.uint8)
    path = write_mask(tmp_path / name, volume, GEOMETRY)
    assert np.array_equal(read_mask(path, GEOMETRY), volume)


def test_mask_lies_on_the_voxels_of_the_file(tmp_path: Path) -> None:
    import nibabel

    volume = np.zeros(GEOMETRY.shape_zyx, np.uint8)
    volume[1, 2, 3] = 1
    image = nibabel.load(write_mask(tmp_path / "mask.nii.gz", volume, GEOMETRY))
    assert image.shape == (9, 40, 32)
    ras = np.diag([-1, -1, 1, 1]) @ AFFINE
    assert np.allclose(image.affine, ras, atol=1e-4)


def test_parts_of_a_mask_become_boxes(tmp_path: Path) -> None:
    volume = np.zeros(GEOMETRY.shape_zyx, np.uint8)
    volume[1:4, 5:9, 10:20] = 1
    volume[6, 20:22, 30:33] = 1
    rois = read_mask_rois(write_mask(tmp_path / "mask.nrrd", volume, GEOMETRY), GEOMETRY)
    expected = GEOMETRY.boxes_to_lps([[10, 5, 1, 20, 9, 4], [30, 20, 6, 33, 22, 7]])
    assert np.array([one.box for one in rois]) == pytest.approx(expected, abs=1e-3)


def test_mask_of_another_volume_is_refused(tmp_path: Path) -> None:
    other = VolumeGeometry.from_file_grid((9, 40, 32), AFFINE + np.eye(4)[:, [3, 3, 3, 0]] * 0.4)
    path = write_mask(tmp_path / "mask.nrrd", np.ones(other.shape_zyx, np.uint8), other)
    with pytest.raises(InputError, match="does not lie on the voxels"):
        read_mask(path, GEOMETRY)
    (tmp_path / "x.nrrd").write_text("no image")
    with pytest.raises(InputError, match="cannot be read"):
        read_mask(tmp_path / "x.nrrd", GEOMETRY)
