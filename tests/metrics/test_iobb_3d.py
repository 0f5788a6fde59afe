import json

import numpy as np
import pytest

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.metrics.iobb_3d import evaluate_boxes_3d, evaluate_iobb_3d

INCLUSIVE_TO_HALF_OPEN = np.array([0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize(("split", "n_volumes", "n_truth"), [("val", 200, 1292), ("test", 800, 4155)])
def test_complete_annotation_finds_itself(real_data, split, n_volumes, n_truth):
    annotation = json.loads((real_data / "deeplesion/lens/DeepLesion_manual_1K.json").read_text())[split]
    truth = {name: np.reshape(boxes, (-1, 6)) + INCLUSIVE_TO_HALF_OPEN for name, boxes in annotation.items()}
    found = {name: np.column_stack([boxes, np.linspace(0.1, 0.9, len(boxes))]) for name, boxes in truth.items()}
    for kind in ("iou", "iobb", "iogt", "iobbgt"):
        curve = evaluate_boxes_3d(truth, found, kind=kind)
        assert (curve.n_volumes, curve.n_truth) == (n_volumes, n_truth)
        assert curve.sensitivity_at(2.0 ** np.arange(-3, 11)).tolist() == [1.0] * 14
        assert curve.average_sensitivity == 1.0


def test_oracle_pairs_decide_who_is_hit(real_data):
    vector = json.loads((real_data / "deeplesion/oracle/lens_iox_3d_pairs.json").read_text())
    box = [*(np.array(vector["box"]) + INCLUSIVE_TO_HALF_OPEN), 0.5]
    truth = {"v": np.array(vector["gts"]) + INCLUSIVE_TO_HALF_OPEN}
    for kind in ("iou", "iobb", "iogt", "iobbgt"):
        for threshold in (0.1, 0.13, 0.3):
            curve = evaluate_boxes_3d(truth, {"v": [box]}, threshold, kind)
            assert (curve.hit_rank == 0).tolist() == [v >= threshold for v in vector["expected"][kind.upper()]]


def test_worked_example_multiple_hits_repeats_and_misses():
    truth = {"a": [[0, 0, 0, 10, 10, 4], [0, 0, 4, 10, 10, 8]], "empty": np.empty((0, 6))}
    found = {
        "a": [
            [0, 0, 0, 10, 10, 8, 0.9],  # half of it in each: two hits
            [0, 0, 0, 10, 10, 4, 0.8],  # a repeat
            [0, 0, 0, 100, 100, 8, 0.7],  # hardly any of it in a lesion, although it holds both
        ],
        "empty": [[5, 5, 5, 6, 6, 6, 0.6]],
    }
    curve = evaluate_boxes_3d(truth, found)
    assert curve.tp.tolist() == [2, 2, 2, 2]
    assert curve.fp_froc.tolist() == curve.fp_ap.tolist() == [0, 0, 1, 2]
    assert curve.interpolation == "lens"


def test_an_overlap_of_exactly_the_threshold_is_a_hit():
    truth = {"a": [[0, 0, 0, 10, 10, 3]]}
    assert evaluate_boxes_3d(truth, {"a": [[0, 0, 0, 10, 10, 10, 0.5]]}, 0.3).tp.tolist() == [1]
    assert evaluate_boxes_3d(truth, {"a": [[0, 0, 0, 10, 10, 10, 0.5]]}, 0.31).tp.tolist() == [0]


def test_tracked_lesions_are_judged_by_their_fused_box_and_best_score():
    lesions = {
        "b": [
            Tracklet((1, 2), ((0.0, 0, 9, 10), (4.0, 0, 13, 10)), (0.25, 0.75)),
            Tracklet((9,), ((0.0, 0, 1, 1),), (0.1,)),
        ],
        "d": [Tracklet((0,), ((2.0, 2, 4, 4),), (0.5,))],
    }
    truth = {name: np.empty((0, 6)) for name in "abcd"}
    truth["b"] = [[3, 0, 1, 12, 10, 3]]
    truth["d"] = [[2, 2, 0, 4, 4, 1]]
    curve = evaluate_iobb_3d(truth, lesions, threshold=1.0, kind="iou")
    assert curve.scores.tolist() == [0.75, 0.5, 0.1]
    assert curve.tp.tolist() == [1, 2, 2]


def test_nothing_found():
    curve = evaluate_iobb_3d({"a": [[0, 0, 0, 1, 1, 1]], "b": []}, {})
    assert (curve.n_truth, curve.n_volumes, curve.recall) == (1, 2, 0)
    assert evaluate_iobb_3d({}, {}).n_truth == 0


def test_bad_tables_are_refused():
    with pytest.raises(ValueError, match="first 'b'"):
        evaluate_boxes_3d({"a": []}, {"b": []})
    with pytest.raises(ValueError, match="7 columns"):
        evaluate_boxes_3d({"a": []}, {"a": [[0, 0, 0, 1, 1, 1]]})
    with pytest.raises(ValueError, match="truth does not list"):
        evaluate_iobb_3d({"a": []}, {"b": []})
