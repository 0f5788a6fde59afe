import json
import time

import numpy as np
import pytest

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.metrics.froc import FROC_FPS
from lesion_app.metrics.p3d import evaluate_p3d


def half_open(box):
    """0-based half-open from DeepLesion's 1-based inclusive."""
    return (box[0] - 1.0, box[1] - 1.0, float(box[2]), float(box[3]))


def read_truth(annotations):
    return {name: [(int(z), half_open(box)) for z, *box in marks] for name, marks in annotations.items()}


def lesion(*slices):
    """A tracklet from ``(z, x1, y1, x2, y2, score)``."""
    return Tracklet(tuple(s[0] for s in slices), tuple(s[1:5] for s in slices), tuple(s[5] for s in slices))


def iou(a, b):
    inter = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union


def overlap(mark, tracklet, protocol):
    z, box = mark
    if protocol == "lens":
        x1, y1, z1, x2, y2, z2 = tracklet.score_weighted_box
        return iou(box, (x1, y1, x2, y2)) if z1 <= z < z2 else 0.0
    return iou(box, tracklet.boxes[tracklet.slices.index(z)]) if z in tracklet.slices else 0.0


def reference(truth, lesions, threshold, protocol="lesion_harvester"):
    """The published rules (deeplesion.md, 2a), one lesion after the other."""
    ranked = sorted(((name, t) for name in truth for t in lesions.get(name, ())), key=lambda item: -item[1].score)
    hit, tp, fp_froc, fp_ap, rows = {}, 0, 0, 0, []
    for rank, (name, tracklet) in enumerate(ranked):
        overlapping = [j for j, mark in enumerate(truth[name]) if overlap(mark, tracklet, protocol) >= threshold]
        if not overlapping:
            fp_froc, fp_ap = fp_froc + 1, fp_ap + 1
        for j in overlapping:
            if (name, j) not in hit:
                hit[name, j], tp = rank, tp + 1
            elif protocol == "lesion_harvester":
                fp_ap += 1
        rows.append((tp, fp_froc, fp_ap))
    hit_scores = [
        ranked[hit[name, j]][1].score if (name, j) in hit else -np.inf
        for name in truth
        for j in range(len(truth[name]))
    ]
    return np.array(rows).reshape(-1, 3), hit_scores


def random_case(seed, n_volumes=12):
    """Crowded little volumes with multiple hits, repeats, gaps, equal scores and volumes without either side."""
    rng = np.random.default_rng(seed)

    def box():
        low = rng.integers(0, 6, 2)
        return tuple(float(v) for v in (*low, *(low + rng.integers(6, 10, 2))))

    def tracklet():
        slices = np.flatnonzero(rng.random(6) < 0.5)
        slices = slices if len(slices) else [0]
        return lesion(*((int(z), *box(), float(rng.integers(1, 8)) / 8) for z in slices))

    truth = {f"v{i}": [(int(rng.integers(0, 6)), box()) for _ in range(rng.integers(0, 5))] for i in range(n_volumes)}
    lesions = {name: [tracklet() for _ in range(rng.integers(0, 9))] for name in list(truth)[::-2]}
    return truth, lesions


@pytest.fixture(scope="module")
def oracle(real_data):
    return json.loads((real_data / "deeplesion/oracle/lh_p3d_iou_40vol.json").read_text())


def test_published_numbers_to_all_digits(oracle):
    truth = read_truth(oracle["ground_truth"])
    lesions = {
        name: [lesion(*((int(z), *half_open(box), score) for z, *box, score in track)) for track in tracks]
        for name, tracks in oracle["detections"].items()
    }
    curve, expected = evaluate_p3d(truth, lesions), oracle["expected"]
    assert (curve.n_volumes, curve.n_truth) == (expected["n_volumes"], expected["n_gt"]) == (40, 132)
    assert curve.scores.tolist() == expected["ranked_score"]
    assert curve.tp.tolist() == expected["tp_cum"]
    assert curve.fp_froc.tolist() == expected["fp_cum_froc"]
    assert curve.fp_ap.tolist() == expected["fp_cum_ap"]
    assert (curve.tp[-1], curve.fp_froc[-1], curve.fp_ap[-1]) == (80, 219, 233)
    assert curve.average_precision == expected["AP"]
    assert curve.sensitivity_at(FROC_FPS).tolist() == expected["sensitivity"]
    assert curve.average_sensitivity == pytest.approx(np.mean(expected["sensitivity"][:7]), abs=1e-15)


def test_complete_test_annotation_finds_itself(real_data):
    truth = read_truth(json.loads((real_data / "deeplesion/lesion_harvester/Revised-Test1071.json").read_text()))
    lesions = {name: [lesion((z, *box, 0.9)) for z, box in marks] for name, marks in truth.items()}
    curve = evaluate_p3d(truth, lesions)
    assert (curve.n_volumes, curve.n_truth) == (1071, 3665)
    assert curve.tp[-1] == 3665
    assert curve.fp_froc[-1] == 0
    assert curve.average_sensitivity == 1.0
    assert curve.average_precision == 1.0


@pytest.mark.parametrize("protocol", ["lesion_harvester", "lens"])
@pytest.mark.parametrize("seed", range(15))
def test_equals_the_rules_applied_one_by_one(seed, protocol):
    truth, lesions = random_case(seed)
    curve = evaluate_p3d(truth, lesions, 0.4, protocol)
    rows, hit_scores = reference(truth, lesions, 0.4, protocol)
    np.testing.assert_array_equal(np.column_stack([curve.tp, curve.fp_froc, curve.fp_ap]), rows)
    np.testing.assert_array_equal(curve.hit_scores, hit_scores)
    assert curve.tp[-1] > 0


TRUTH = {"a": [(3, (0.0, 0.0, 10.0, 10.0)), (3, (0.0, 2.0, 10.0, 12.0)), (7, (50.0, 50.0, 60.0, 60.0))], "empty": []}


def test_one_lesion_may_hit_several_marks_and_repeats_count_for_ap_only():
    lesions = {
        "a": [
            lesion((3, 0.0, 1.0, 10.0, 11.0, 0.9)),  # hits both marks of slice 3
            lesion((3, 0.0, 0.0, 10.0, 10.0, 0.8)),  # hits both again
            lesion((6, 50.0, 50.0, 60.0, 60.0, 0.7), (8, 50.0, 50.0, 60.0, 60.0, 0.7)),  # no box on slice 7
        ],
        "empty": [lesion((0, 0.0, 0.0, 5.0, 5.0, 0.6))],
    }
    curve = evaluate_p3d(TRUTH, lesions)
    assert curve.tp.tolist() == [2, 2, 2, 2]
    assert curve.fp_froc.tolist() == [0, 0, 1, 2]
    assert curve.fp_ap.tolist() == [0, 2, 3, 4]
    assert curve.n_volumes == 2
    assert curve.hit_scores.tolist() == [0.9, 0.9, -np.inf]
    assert curve.average_precision == pytest.approx(2 / 3)


def test_score_is_the_best_slice_and_the_box_is_that_of_the_key_slice():
    tracklet = lesion((6, 0.0, 0.0, 9.0, 9.0, 0.95), (7, 50.0, 50.0, 60.0, 60.0, 0.1))
    curve = evaluate_p3d(TRUTH, {"a": [tracklet]})
    assert curve.scores.tolist() == [0.95]
    assert curve.tp.tolist() == [1]
    assert evaluate_p3d(TRUTH, {"a": [tracklet]}, protocol="lens").tp.tolist() == [0]


def test_lens_judges_the_fused_box_on_every_slice_of_the_range():
    tracklet = lesion((6, 49.0, 50.0, 59.0, 60.0, 0.5), (8, 51.0, 50.0, 61.0, 60.0, 0.5))
    assert evaluate_p3d(TRUTH, {"a": [tracklet]}, 0.99, protocol="lens").tp.tolist() == [1]
    assert evaluate_p3d(TRUTH, {"a": [tracklet]}, 0.5).tp.tolist() == [0]


def test_an_iou_of_exactly_the_threshold_is_a_hit():
    truth = {"a": [(0, (0.0, 0.0, 10.0, 20.0))]}
    assert evaluate_p3d(truth, {"a": [lesion((0, 0.0, 0.0, 10.0, 10.0, 0.5))]}, 0.5).tp.tolist() == [1]


def test_equal_scores_rank_in_the_order_given():
    right, wrong = lesion((7, 50.0, 50.0, 60.0, 60.0, 0.5)), lesion((7, 0.0, 0.0, 6.0, 6.0, 0.5))
    assert evaluate_p3d(TRUTH, {"a": [right, wrong]}).tp.tolist() == [1, 1]
    assert evaluate_p3d(TRUTH, {"a": [wrong, right]}).tp.tolist() == [0, 1]
    in_volume_order = evaluate_p3d(TRUTH, {"empty": [wrong], "a": [right]})
    assert in_volume_order.tp.tolist() == [1, 1]


def test_a_volume_the_truth_does_not_list_is_refused():
    with pytest.raises(ValueError, match="truth does not list, first 'b'"):
        evaluate_p3d(TRUTH, {"b": []})
    with pytest.raises(ValueError, match="unknown protocol"):
        evaluate_p3d(TRUTH, {}, protocol="mulan")


def test_nothing_found_and_nothing_to_find():
    curve = evaluate_p3d(TRUTH, {})
    assert (curve.average_precision, curve.average_sensitivity, curve.recall) == (0, 0, 0)
    assert curve.hit_scores.tolist() == [-np.inf] * 3
    curve = evaluate_p3d({"empty": []}, {"empty": [lesion((0, 0.0, 0.0, 5.0, 5.0, 0.6))]})
    assert (curve.average_precision, curve.average_sensitivity, curve.fp_froc.tolist()) == (0, 0, [1])
    assert evaluate_p3d({}, {}).n_volumes == 0


def test_a_whole_test_set_takes_a_moment():
    rng = np.random.default_rng(0)
    truth = {f"v{i}": [(int(z), (10.0, 10.0, 30.0, 30.0)) for z in rng.integers(0, 40, 4)] for i in range(300)}
    boxes = ((10.0, 10.0, 30.0, 30.0),) * 4
    lesions = {
        name: [Tracklet((z, z + 1, z + 2, z + 3), boxes, (0.1, 0.2, 0.3, s)) for z, s in enumerate(rng.random(40))]
        for name in truth
    }
    start = time.perf_counter()
    curve = evaluate_p3d(truth, lesions)
    assert time.perf_counter() - start < 2  # 0.02 s on an idle core
    assert len(curve.scores) == 12000
