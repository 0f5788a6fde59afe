import numpy as np
import pytest

from lesion_app.metrics.by_size import froc_by_size, long_side_mm
from lesion_app.metrics.froc import froc_curve


def test_long_side_without_padding_in_millimetres():
    boxes = [[0.0, 0, 30, 20], [0, 0, 20, 30], [0, 0, 8, 8]]
    assert long_side_mm(boxes, (0.5, 1.0, 5.0), padding_px=5).tolist() == [10, 20, 0]
    assert long_side_mm(boxes, [[1, 1], [0.5, 0.5], [2, 2]]).tolist() == [30, 15, 16]
    assert long_side_mm([], (1, 1, 1)).shape == (0,)


def test_bins_take_a_border_from_below_and_share_false_positives():
    curve = froc_curve([0.9, 0.8, 0.7], [0, 2], [2, 0], n_truth=4, n_volumes=1)
    parts = froc_by_size(curve, [9.9, 10, 40, 30])
    assert list(parts) == ["< 10 mm", "10-30 mm", ">= 30 mm"]
    assert [p.n_truth for p in parts.values()] == [1, 1, 2]
    assert [p.tp.tolist() for p in parts.values()] == [[0, 0, 1], [0, 0, 0], [1, 1, 1]]
    assert all(p.fp_froc.tolist() == [0, 1, 1] for p in parts.values())


def test_own_borders():
    curve = froc_curve([], [], [], n_truth=3, n_volumes=1)
    assert list(froc_by_size(curve, np.array([1, 2, 3]), [6.5])) == ["< 6.5 mm", ">= 6.5 mm"]
    with pytest.raises(ValueError, match="increase"):
        froc_by_size(curve, [1, 2, 3], [10, 5])
    with pytest.raises(ValueError, match="3 sizes"):
        froc_by_size(curve, [1, 2])
