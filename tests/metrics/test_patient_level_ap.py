"""Patient scores: worked example, slow references, patients without predictions."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_app.metrics.patient_level_ap import average_precision, patient_scores, roc_auc


def slow_average_precision(positive: list[bool], scores: list[float]) -> float:
    total, before = 0.0, 0
    for threshold in sorted(set(scores), reverse=True):
        called = [p for p, s in zip(positive, scores) if s >= threshold]
        total += (sum(called) - before) * sum(called) / len(called)
        before = sum(called)
    return total / sum(positive)


def slow_auc(positive: list[bool], scores: list[float]) -> float:
    pairs = [(a, b) for a, p in zip(scores, positive) if p for b, q in zip(scores, positive) if not q]
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


def test_worked_example():
    """Scores .9 +, .8 -, .7 +: precisions 1 and 2/3 at the positives; one of two pairs in order."""
    positive, scores = np.array([True, False, True]), np.array([0.9, 0.8, 0.7])
    assert average_precision(positive, scores) == pytest.approx((1 + 2 / 3) / 2)
    assert roc_auc(positive, scores) == pytest.approx(0.5)


def test_patient_has_the_best_score_of_all_his_images():
    result = patient_scores(
        ["a", "b", "a", "c"],
        [{"labels": [1]}, {"labels": [2, 1]}, {"labels": [2]}, {"labels": []}],
        [
            {"labels": [2, 1], "scores": [0.3, 0.95]},
            {"labels": [2], "scores": [0.5]},
            {"labels": [2], "scores": [0.7]},
            {"labels": [], "scores": []},
        ],
        label=2,
    )
    assert result.patients == ("a", "b", "c")
    assert result.scores.tolist() == [0.7, 0.5, 0.0]
    assert result.positive.tolist() == [True, True, False]
    assert (result.average_precision, result.auc) == (1.0, 1.0)
    assert result.interval(resamples=20).high == 1.0


def test_equal_scores_are_one_threshold_and_equal_the_slow_references():
    generator = np.random.default_rng(2)
    for size in (2, 5, 60):
        positive = np.append(generator.random(size - 2) < 0.4, [True, False])
        scores = generator.integers(0, 6, size) / 5
        assert average_precision(positive, scores) == pytest.approx(
            slow_average_precision(positive.tolist(), scores.tolist())
        )
        assert roc_auc(positive, scores) == pytest.approx(slow_auc(positive.tolist(), scores.tolist()))


def test_equals_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(3)
    positive, scores = generator.random(50) < 0.3, generator.integers(0, 9, 50) / 8
    assert average_precision(positive, scores) == pytest.approx(metrics.average_precision_score(positive, scores))
    assert roc_auc(positive, scores) == pytest.approx(metrics.roc_auc_score(positive, scores))


def test_undefined_without_the_one_kind_or_the_other():
    assert np.isnan(average_precision(np.array([False]), np.array([0.5])))
    assert np.isnan(roc_auc(np.array([True]), np.array([0.5])))
    assert np.isnan(roc_auc(np.array([False]), np.array([0.5])))


def test_faulty_arguments_are_told():
    with pytest.raises(ValueError, match="a patient, a truth and a prediction"):
        patient_scores(["a"], [], [], 1)
    with pytest.raises(ValueError, match="as many labels"):
        patient_scores(["a"], [{"labels": [1]}], [{"labels": [1], "scores": []}], 1)
