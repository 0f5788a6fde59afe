"""The paper's AP: a case worked out by hand, and its own words as a loop."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_app.metrics.eleven_point_ap import eleven_point_ap
from lesion_app.metrics.typed_boxes import typed_boxes

BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]


def worked_example():
    """Class 1: two lesions. Scores 0.95 right, 0.85 wrong place, 0.55 right; class 2: one lesion, found as class 1."""
    truth = {
        "a": {"boxes": [BOX], "labels": [1]},
        "b": {"boxes": [BOX], "labels": [1]},
        "c": {"boxes": [BOX], "labels": [2]},
    }
    found = {
        "a": {"boxes": [BOX, FAR], "labels": [1, 1], "scores": [0.95, 0.85]},
        "b": {"boxes": [BOX], "labels": [1], "scores": [0.55]},
        "c": {"boxes": [BOX], "labels": [1], "scores": [0.05]},
    }
    return typed_boxes(truth, found)


def test_worked_example():
    result = eleven_point_ap(worked_example(), 3)
    # thresholds 1.0 | 0.9 | 0.8 0.7 0.6 | 0.5 ... 0.1 | 0.0
    assert result.precision[0].tolist() == pytest.approx([0, 1, 0.5, 0.5, 0.5, *[2 / 3] * 5, 0.5])
    assert result.recall[0].tolist() == [0, 0.5, 0.5, 0.5, 0.5, 1, 1, 1, 1, 1, 1]
    assert result.average_precision[0] == pytest.approx(1.0 * 0.5 + 2 / 3 * 0.5)
    assert result.average_precision[1] == 0
    assert np.isnan(result.average_precision[2])
    assert result.mean == pytest.approx((5 / 6 + 0) / 2)


def test_a_second_hit_is_a_false_positive():
    truth = {"a": {"boxes": [BOX], "labels": [1]}}
    found = {"a": {"boxes": [BOX, BOX], "labels": [1, 1], "scores": [0.95, 0.92]}}
    result = eleven_point_ap(typed_boxes(truth, found), 1)
    assert result.precision[0, 1] == 0.5


def test_a_score_on_a_threshold_counts_there():
    truth = {"a": {"boxes": [BOX], "labels": [1]}}
    for score in np.arange(11, dtype=np.float32) / 10:
        found = {"a": {"boxes": [BOX], "labels": [1], "scores": [score]}}
        result = eleven_point_ap(typed_boxes(truth, found), 1)
        assert int(result.recall[0].sum()) == round(10 * float(score)) + 1


def literal(typed_case, truth, found, classes, threshold):
    """Section 3.3.3, step by step."""
    averages = []
    for c in range(1, classes + 1):
        points = []
        lesions = sum(int(label == c) for t in truth.values() for label in t["labels"])
        for score in sorted((i / 10 for i in range(11)), reverse=True):
            shown = {}
            for name, f in found.items():
                keep = [i for i in range(len(f["scores"])) if f["scores"][i] >= score and f["labels"][i] == c]
                shown[name] = {key: [f[key][i] for i in keep] for key in ("boxes", "labels", "scores")}
            right = len(typed_case.slow_match(truth, shown, threshold, True))
            total = sum(len(s["scores"]) for s in shown.values())
            points.append((right / total if total else 0.0, right / lesions if lesions else float("nan")))
        before, area = 0.0, 0.0
        for precision, recall in points:
            area += precision * (recall - before)
            before = recall
        averages.append(area)
    return averages


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_papers_words(typed_case, seed):
    truth, found = typed_case.random_case(seed)
    result = eleven_point_ap(typed_boxes(truth, found), 3)
    assert result.average_precision.tolist() == pytest.approx(literal(typed_case, truth, found, 3, 0.21), nan_ok=True)


def test_without_detections_or_lesions():
    truth = {"a": {"boxes": [BOX], "labels": [1]}}
    assert eleven_point_ap(typed_boxes(truth, {}), 2).mean == 0
    assert np.isnan(eleven_point_ap(typed_boxes({"a": {"boxes": (), "labels": ()}}, {}), 2).mean)
    with pytest.raises(ValueError, match="label 2"):
        eleven_point_ap(typed_boxes({"a": {"boxes": [BOX], "labels": [2]}}, {}), 1)
