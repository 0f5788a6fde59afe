import itertools

import numpy as np
import pytest

from lesion_app.data.patient_boxes import boxes_from_lps, overlap_3d, slice_boxes
from lesion_app.errors import InputError
from transforms.geometry import VolumeGeometry

# a file stored (k, i, j) with two flips, voxels 0.7 x 0.9 x 5 mm
AFFINE = np.array([[0, -0.7, 0, 40.0], [0, 0, 0.9, -30.0], [5.0, 0, 0, -700.0], [0, 0, 0, 1]])
GEOMETRY = VolumeGeometry.from_file_grid((8, 60, 50), AFFINE)


def test_lps_is_the_way_back_from_boxes_to_lps() -> None:
    boxes = np.array([[0, 0, 0, 60, 50, 8], [3.25, 4.5, 1, 20.75, 30, 4]])
    assert boxes_from_lps(GEOMETRY.boxes_to_lps(boxes), GEOMETRY) == pytest.approx(boxes, abs=1e-9)
    assert boxes_from_lps([], GEOMETRY).shape == (0, 6)


def test_one_voxel_reaches_to_its_faces() -> None:
    """The voxel whose centre is the affine's origin: half a voxel to every side of it."""
    lps = [[40 - 0.35, -30 - 0.45, -702.5, 40 + 0.35, -30 + 0.45, -697.5]]
    x1, y1, z1, x2, y2, z2 = boxes_from_lps(lps, GEOMETRY)[0]
    assert (x2 - x1, y2 - y1, z2 - z1) == pytest.approx((1, 1, 1))
    assert (y1, z1) == pytest.approx((0, 0), abs=1e-9)


@pytest.mark.parametrize(
    ("z1", "z2", "slices"),
    [(2, 5, [2, 3, 4]), (2.4, 4.6, [2, 3, 4]), (2.6, 4.4, [3]), (2.6, 3.3, [2]), (6, 99, [6, 7]), (2.5, 3.5, [2])],
)
def test_slices_are_those_whose_centres_a_box_holds(z1: float, z2: float, slices: list[int]) -> None:
    assert list(slice_boxes((1, 2, z1, 9, 12, z2), GEOMETRY)) == slices


def test_boxes_are_clipped_to_the_image() -> None:
    assert slice_boxes((-3, 40, 0, 10, 70, 1), GEOMETRY) == {0: (0.0, 40.0, 10.0, 50.0)}


@pytest.mark.parametrize("box", [(70, 0, 0, 80, 9, 1), (0, 0, 9, 9, 9, 12), (0, 0, -5, 9, 9, -2), (3, 3, 0, 3, 9, 1)])
def test_box_outside_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="outside its CT"):
        slice_boxes(box, GEOMETRY)  # type: ignore[arg-type]


def test_overlap_counts_voxels() -> None:
    rng = np.random.default_rng(0)
    low = rng.integers(0, 5, (2, 4, 3))
    boxes = np.concatenate([low, low + rng.integers(0, 5, (2, 4, 3))], axis=2)

    def voxels(box: np.ndarray) -> set[tuple[int, ...]]:
        return set(itertools.product(*(range(box[a], box[a + 3]) for a in range(3))))

    for i, j in itertools.product(range(4), range(4)):
        a, b = voxels(boxes[0, i]), voxels(boxes[1, j])
        expected = len(a & b) / len(a | b) if a | b else 0.0
        assert overlap_3d(boxes[0], boxes[1])[i, j] == pytest.approx(expected)
