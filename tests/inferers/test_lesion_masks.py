from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from lesion_app.boxes.outlined_tracklet import OutlinedTracklet
from lesion_app.boxes.tracklet import Tracklet
from lesion_app.errors import InputError
from lesion_app.inferers.lesion_masks import lesion_label_map, read_lesion_masks, write_lesion_masks

SHAPE = (4, 10, 12)
DOCUMENT = {"grid": {"size_xyz": [12, 10, 4]}}
CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)


def lesion(score: float, box: tuple[float, float, float, float], slices: tuple[int, ...] = (1, 2), **outlines: object):
    return OutlinedTracklet(slices, (box,) * len(slices), (score,) * len(slices), 1, **outlines)


def test_outline_is_painted_with_the_rank_of_its_score() -> None:
    cross = lesion(0.9, (2, 3, 5, 6), outlines={1: (2, 3, CROSS)})
    plain = Tracklet((0,), ((0.2, 0.0, 2.0, 1.5),), (0.5,))
    labels = lesion_label_map([plain, cross], SHAPE)
    assert (labels[1, 3:6, 2:5] == CROSS).all()
    assert int((labels == 1).sum()) == 5
    assert (labels == 2).nonzero()[1].tolist() == [0, 0, 1, 1]
    assert (labels == 2).nonzero()[2].tolist() == [0, 1, 0, 1]


def test_where_lesions_meet_the_better_one_has_the_voxel() -> None:
    worse = lesion(0.5, (2, 3, 5, 6), outlines={1: (2, 3, np.ones((3, 3), dtype=bool))})
    labels = lesion_label_map([worse, lesion(0.9, (2, 3, 5, 6), outlines={1: (2, 3, CROSS)})], SHAPE)
    assert (labels[1, 3:6, 2:5] == np.where(CROSS, 1, 2)).all()


def test_covered_lesion_keeps_the_pixel_in_its_middle() -> None:
    cover = lesion(0.9, (0, 0, 12, 10), outlines={1: (0, 0, np.ones((10, 12), dtype=bool))})
    labels = lesion_label_map([cover, lesion(0.5, (2, 3, 5, 6), (1,), outlines={1: (2, 3, CROSS)})], SHAPE)
    assert np.argwhere(labels == 2).tolist() == [[1, 4, 3]]


def test_file_comes_back_and_lies_where_the_ct_lies(tmp_path: Path) -> None:
    affine = np.array([[0.7, 0, 0, -50], [0, 0.7, 0, -60], [0, 0, 2.5, 30], [0, 0, 0, 1]])
    geometry = SimpleNamespace(shape_zyx=SHAPE, affine_lps=affine)
    lesions = [lesion(0.9, (2, 3, 5, 6), outlines={1: (2, 3, CROSS)})]
    path = write_lesion_masks(lesions, geometry, tmp_path / "lesion_masks.nii.gz")
    assert [p.name for p in tmp_path.iterdir()] == ["lesion_masks.nii.gz"]
    assert (read_lesion_masks(path, DOCUMENT) == lesion_label_map(lesions, SHAPE)).all()
    image = nibabel.load(path)
    assert image.shape == (12, 10, 4)
    np.testing.assert_allclose(image.affine @ [3, 4, 1, 1], [50 - 2.1, 60 - 2.8, 32.5, 1], atol=1e-4)


def test_masks_of_another_run_are_refused(tmp_path: Path) -> None:
    geometry = SimpleNamespace(shape_zyx=(4, 9, 12), affine_lps=np.eye(4))
    path = write_lesion_masks([], geometry, tmp_path / "lesion_masks.nii.gz")
    with pytest.raises(InputError, match="give the two files of one run"):
        read_lesion_masks(path, DOCUMENT)
    path.write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be read as NIfTI"):
        read_lesion_masks(path, DOCUMENT)


def test_outline_on_a_strange_slice_is_refused() -> None:
    with pytest.raises(ValueError, match="slice 7 is named"):
        lesion(0.9, (2, 3, 5, 6), outlines={7: (2, 3, CROSS)})
    assert lesion(0.9, (2, 3, 5, 6), (1, 2, 3), middle=2).key_slice == 2
