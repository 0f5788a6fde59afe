import numpy as np
import pytest

from lesion_app.boxes.tracklet import Tracklet

LESION = Tracklet((4, 5, 6), ((0.0, 0, 4, 4), (1.0, 1, 7, 5), (2.0, 0, 4, 4)), (0.2, 0.6, 0.2), label=3)


def test_score_and_key_slice_are_those_of_the_best_slice():
    assert LESION.score == 0.6
    assert LESION.key_slice == 5
    assert Tracklet((1, 2), ((0.0, 0, 1, 1),) * 2, (0.5, 0.5)).key_slice == 1


def test_extent_holds_all_boxes_and_ends_behind_the_last_slice():
    assert LESION.extent == (0.0, 0.0, 4.0, 7.0, 5.0, 7.0)


def test_fused_box_weighs_by_score():
    np.testing.assert_allclose(LESION.score_weighted_box, (1.0, 0.6, 4.0, 5.8, 4.6, 7.0))
    unsure = Tracklet((0, 1), ((0.0, 0, 2, 2), (2.0, 0, 4, 2)), (0.0, 0.0))
    np.testing.assert_allclose(unsure.score_weighted_box, (1.0, 0.0, 0.0, 3.0, 2.0, 2.0))


def test_from_arrays_sorts_by_slice():
    lesion = Tracklet.from_arrays([7, 3], np.array([[0, 0, 1, 1], [5, 5, 6, 6]]), [0.1, 0.9])
    assert lesion.slices == (3, 7)
    assert lesion.boxes[0] == (5.0, 5.0, 6.0, 6.0)
    assert lesion.scores == (0.9, 0.1)


@pytest.mark.parametrize(
    ("slices", "boxes", "scores"),
    [((), (), ()), ((1, 2), ((0.0, 0, 1, 1),), (0.5, 0.5)), ((2, 1), ((0.0, 0, 1, 1),) * 2, (0.5, 0.5))],
)
def test_inconsistent_tracklets_are_refused(slices, boxes, scores):
    with pytest.raises(ValueError, match="tracklet"):
        Tracklet(slices, boxes, scores)
