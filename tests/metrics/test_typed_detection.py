"""Mean IoU, misses, size ratios and sensitivities, worked out by hand."""

from __future__ import annotations

import math

import pytest

from lesion_app.metrics.typed_boxes import typed_boxes
from lesion_app.metrics.typed_detection import localisation, sensitivity_table, size_ratio_table

# 10 x 10 lesions; half of A, A thrice as high, a shifted B.
A, B, C = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]
HALF_A, TALL_A, NEAR_B = [0, 0, 10, 5], [0, 0, 10, 30], [25, 0, 35, 10]


def example():
    truth = {
        "a": {"boxes": [A, B], "labels": [1, 2]},
        "b": {"boxes": [C], "labels": [2]},
        "c": {"boxes": (), "labels": ()},
    }
    found = {"a": {"boxes": [HALF_A, NEAR_B, A], "labels": [1, 1, 1], "scores": [0.9, 0.8, 0.2]}}
    return typed_boxes(truth, found)


def test_missed_lesions_count_as_no_overlap():
    found = localisation(example())
    # A: 0.5; B: 50 / 150; C: nothing
    assert found.mean_iou == pytest.approx((0.5 + 1 / 3 + 0) / 3)
    assert found.mean_iou_of_hits == pytest.approx((0.5 + 1 / 3) / 2)
    assert found.missed_share == pytest.approx(1 / 3)
    assert found.silent_share == pytest.approx(2 / 3)


def test_thresholds_decide_what_is_missed():
    assert localisation(example(), iou_threshold=0.4).missed_share == pytest.approx(2 / 3)
    assert localisation(example(), score_threshold=0.85).missed_share == pytest.approx(2 / 3)
    nothing = localisation(example(), score_threshold=0.95)
    assert (nothing.mean_iou, nothing.missed_share, nothing.silent_share) == (0, 1, 1)
    assert math.isnan(nothing.mean_iou_of_hits)


def test_the_first_by_score_is_a_lesions_detection():
    # A is also found exactly, but with a lower score.
    assert localisation(example(), score_threshold=0.1).mean_iou == pytest.approx((0.5 + 1 / 3) / 3)


def test_size_ratios():
    truth = {"a": {"boxes": [A, B], "labels": [1, 2]}}
    boxes = [HALF_A, TALL_A, B, [0, 0, 10, 80], [20, 0, 24, 10], C]
    found = {"a": {"boxes": boxes, "labels": [1] * 6, "scores": [0.9] * 6}}
    table = size_ratio_table(typed_boxes(truth, found))
    # ratios 0.5, 3, 1, 8, 0.4; C touches nothing
    bigger, smaller, equal = table["bigger"], table["smaller"], table["equal"]
    assert (bigger.share, bigger.mean, bigger.median, bigger.minimum, bigger.maximum) == (0.4, 5.5, 5.5, 3, 8)
    assert (smaller.share, smaller.minimum, smaller.maximum) == (0.4, 0.4, 0.5)
    assert smaller.mean == pytest.approx(0.45)
    assert (equal.share, equal.median) == (0.2, 1)
    strict = size_ratio_table(typed_boxes(truth, found), iou_threshold=0.45)
    assert strict["smaller"].share == 0.5
    assert math.isnan(strict["bigger"].mean)
    assert math.isnan(size_ratio_table(typed_boxes(truth, {}))["bigger"].share)


def test_a_box_is_set_against_the_lesion_it_overlaps_most():
    truth = {"a": {"boxes": [[0, 0, 40, 10], [0, 0, 10, 10]], "labels": [1, 1]}}
    found = {"a": {"boxes": [[0, 0, 20, 10]], "labels": [1], "scores": [0.9]}}
    # IoU 0.5 with both: the first of equals
    assert size_ratio_table(typed_boxes(truth, found))["smaller"].mean == 0.5


def test_sensitivity_by_type_and_size():
    table = sensitivity_table(example(), 3, [5.0, 20.0, 40.0], false_positives=(0.5, 1.0))
    assert table["by_type"]["1"] == {"lesions": 1, "sensitivity": [1.0, 1.0], "mean": 1.0}
    # B was found as type 1, C not at all; both detections of type 2's lesions are false or missing
    assert table["by_type"]["2"]["sensitivity"] == [0.0, 0.0]
    assert table["by_type"]["3"]["lesions"] == 0
    assert math.isnan(table["by_type"]["3"]["mean"])
    assert {name: row["mean"] for name, row in table["by_size"].items()} == {
        "< 10 mm": 1.0,
        "10-30 mm": 1.0,
        ">= 30 mm": 0.0,
    }
    assert table["all"]["typed"]["mean"] == pytest.approx(1 / 3)
    assert table["all"]["untyped"]["mean"] == pytest.approx(2 / 3)
