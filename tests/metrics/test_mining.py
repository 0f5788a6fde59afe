import pytest
import torch

from lesion_app.metrics.mining import MiningCounts, mined_precision_recall

A, B, C = [0.0, 0, 10, 10], [20.0, 20, 30, 30], [50.0, 50, 60, 60]
NONE = torch.empty(0, 4)


def boxes(*rows):
    return torch.tensor(rows).reshape(-1, 4)


def test_worked_example():
    # A is labelled; B is mined twice; C stays hidden; one mined box lies on A and one on nothing
    mined = boxes(B, [20.0, 20, 30, 28], A, [80.0, 80, 90, 90])
    counts = mined_precision_recall([mined], [boxes(A, B, C)], [boxes(A)])
    assert counts == MiningCounts(mined=4, right=2, hidden=2, found=1)
    assert (counts.precision, counts.recall) == (0.5, 0.5)


def test_images_are_kept_apart_and_sums_add_up():
    first = mined_precision_recall([boxes(A)], [boxes(B)], [NONE])
    second = mined_precision_recall([boxes(B)], [boxes(B, A)], [boxes(A)])
    both = mined_precision_recall([boxes(A), boxes(B)], [boxes(B), boxes(B, A)], [NONE, boxes(A)])
    assert first == MiningCounts(1, 0, 1, 0)
    assert second == MiningCounts(1, 1, 1, 1)
    assert both == first + second


def test_a_label_takes_away_only_the_lesion_it_was_drawn_for():
    neighbour = [0.0, 2, 10, 12]  # IoU 2/3 with A
    counts = mined_precision_recall([boxes(neighbour)], [boxes(A, neighbour)], [boxes([0.0, 0, 10, 9.5])])
    assert counts == MiningCounts(1, 1, 1, 1)


def test_iou_of_exactly_the_threshold_counts():
    assert mined_precision_recall([boxes([0.0, 0, 10, 5])], [boxes(A)], [NONE]).right == 1
    assert mined_precision_recall([boxes([0.0, 0, 10, 5])], [boxes(A)], [NONE], 0.51).right == 0


def test_empty_images_are_valid():
    counts = mined_precision_recall([NONE, NONE, boxes(A)], [NONE, boxes(A), NONE], [NONE, boxes(A), NONE])
    assert counts == MiningCounts(mined=1, right=0, hidden=0, found=0)
    assert mined_precision_recall([], [], []) == MiningCounts()
    assert MiningCounts().precision == MiningCounts().recall == 0


def test_figures_leave_out_undefined_ratios():
    assert MiningCounts(4, 3, 6, 2).as_figures() == {
        "mined_right": 3,
        "hidden_lesions": 6,
        "hidden_found": 2,
        "mined_precision": 0.75,
        "mined_recall": 1 / 3,
    }
    assert set(MiningCounts().as_figures()) == {"mined_right", "hidden_lesions", "hidden_found"}


def test_unequal_numbers_of_images_are_refused():
    with pytest.raises(ValueError, match="one entry an image"):
        mined_precision_recall([NONE], [NONE, NONE], [NONE])
