import numpy as np
import pytest
import torch

from lesion_app.metrics.key_slice_2d import KEY_SLICE_FPS, evaluate_key_slices

TRUTH = {"1.png": [[0.0, 0, 10, 10]], "2.png": np.array([[5.0, 5, 9, 9], [5, 5, 9, 10]]), "3.png": np.empty((0, 4))}


def found(*rows):
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 5)
    return {"boxes": table[:, :4].float(), "scores": table[:, 4].float(), "labels": torch.ones(len(table))}


DETECTIONS = {
    "1.png": found((0, 0, 10, 5, 0.9), (1, 1, 3, 3, 0.4)),
    "2.png": found((5, 5, 9, 9, 0.8), (5, 5, 9, 9, 0.7)),
    "3.png": found((0, 0, 1, 1, 0.6)),
}


def test_worked_example():
    curve = evaluate_key_slices(TRUTH, DETECTIONS)
    assert curve.n_volumes == 3
    assert curve.n_truth == 3
    assert curve.tp.tolist() == [1, 3, 3, 3, 3]
    assert curve.fp_froc.tolist() == [0, 0, 0, 1, 2]
    assert curve.sensitivity_at(KEY_SLICE_FPS).tolist() == [1.0] * 6


def test_iobb_counts_a_small_box_inside_a_lesion():
    curve = evaluate_key_slices(TRUTH, DETECTIONS, kind="iobb")
    assert curve.fp_froc.tolist() == [0, 0, 0, 1, 1]


def test_sensitivity_is_read_per_image():
    truth = {str(i): [[0.0, 0, 10, 10]] for i in range(4)}
    wrong, right = (50, 50, 60, 60), (0, 0, 10, 10)
    detections = {
        "0": found((*wrong, 0.9), (*right, 0.5)),
        "1": found((*wrong, 0.8)),
        "2": found((*right, 0.7), (*wrong, 0.6)),
    }
    curve = evaluate_key_slices(truth, detections)
    assert curve.fp_per_volume.tolist() == [0.25, 0.5, 0.5, 0.75, 0.75]
    assert curve.sensitivity_at([0.1, 0.5, 0.75, 1]).tolist() == [0, 0.25, 0.5, 0.5]
    assert curve.sensitivity_at([0.5, 0.75], "lesion_harvester").tolist() == [0, 0.25]


def test_images_without_detections_or_truth_are_valid():
    assert evaluate_key_slices(TRUTH, {}).recall == 0
    assert evaluate_key_slices({}, {}).n_volumes == 0
    assert evaluate_key_slices({"1.png": []}, {"1.png": {"boxes": [], "scores": []}}).n_volumes == 1


def test_bad_tables_are_refused():
    with pytest.raises(ValueError, match=r"first '9\.png'"):
        evaluate_key_slices(TRUTH, {"9.png": found()})
    with pytest.raises(ValueError, match="one score"):
        evaluate_key_slices(TRUTH, {"1.png": {"boxes": torch.zeros(2, 4), "scores": torch.zeros(1)}})
    with pytest.raises(ValueError, match=r"\[N, 4\]"):
        evaluate_key_slices({"1.png": [[1.0, 2, 3]]}, {})
