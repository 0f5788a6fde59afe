"""mAP at a low IoU: worked examples, a slow reference, and the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lesion_app.metrics.bootstrap import percentile_interval, resampled_counts
from lesion_app.metrics.object_map import interpolated_average_precision, object_map


def case(*boxes: tuple[float, ...], labels: list[int], scores: list[float] | None = None, columns: int = 4) -> dict:
    found = {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, columns), "labels": torch.tensor(labels)}
    return found if scores is None else {**found, "scores": torch.tensor(scores)}


def slow_average_precision(hits: list[bool], n_truth: int) -> float:
    """COCO's 101 recalls one by one."""
    total = 0.0
    for recall in np.linspace(0, 1, 101):
        best, tp = 0.0, 0
        for rank, hit in enumerate(hits, start=1):
            tp += hit
            if tp / n_truth >= recall:
                best = max(best, tp / rank)
        total += best
    return total / 101


def slow_matches(truth, predictions, label, threshold, min_score):
    def iou(a, b):
        w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
        h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
        return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)

    rows, n_truth = [], 0
    for true, found in zip(truth, predictions):
        objects = [b for b, k in zip(true["boxes"].tolist(), true["labels"].tolist()) if k == label]
        n_truth += len(objects)
        taken = set()
        mine = [
            (s, b)
            for b, k, s in zip(found["boxes"].tolist(), found["labels"].tolist(), found["scores"].tolist())
            if k == label and s > min_score
        ]
        for score, box in sorted(mine, key=lambda row: -row[0]):
            ious = [iou(box, o) for o in objects]
            best = int(np.argmax(ious)) if ious else -1
            hit = best >= 0 and ious[best] > threshold and best not in taken
            if hit:
                taken.add(best)
            rows.append((score, hit))
    rows.sort(key=lambda row: -row[0])
    return [hit for _, hit in rows], n_truth


def test_worked_example_of_average_precision():
    """Hits + - + of two objects: precision 1 up to recall .5, 2/3 beyond."""
    value = interpolated_average_precision(np.array([True, False, True]), 2)
    assert value == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert interpolated_average_precision(np.array([True]), 2) == pytest.approx(51 / 101)
    assert interpolated_average_precision(np.array([], dtype=bool), 2) == 0.0
    assert np.isnan(interpolated_average_precision(np.array([False]), 0))


def test_second_box_on_an_object_is_false_and_a_missed_object_counts():
    truth = [case((0, 0, 10, 10), (30, 30, 40, 40), labels=[1, 1])]
    twice = [case((0, 0, 10, 10), (1, 0, 10, 10), labels=[1, 1], scores=[0.6, 0.9])]
    result = object_map(truth, twice)
    assert result.matches[1].hits.tolist() == [True, False]
    assert result.matches[1].scores.tolist() == pytest.approx([0.9, 0.6])
    assert result.mean == pytest.approx(51 / 101)


def test_box_belongs_to_the_object_it_overlaps_most_even_when_that_is_taken():
    truth = [case((0, 0, 10, 10), (8, 0, 18, 10), labels=[1, 1])]
    found = [case((0, 0, 10, 10), (1, 0, 12, 10), labels=[1, 1], scores=[0.9, 0.8])]
    assert object_map(truth, found).matches[1].hits.tolist() == [True, False]


def test_threshold_is_exceeded_not_reached():
    truth, found = [case((0, 0, 10, 10), labels=[1])], [case((0, 0, 10, 1), labels=[1], scores=[0.9])]
    assert object_map(truth, found, iou_threshold=0.1).mean == 0.0
    assert object_map(truth, found, iou_threshold=0.09).mean == 1.0
    assert object_map(truth, [case((0, 0, 10, 10), labels=[1], scores=[0.1])]).mean == 0.0  # min_score likewise
    assert object_map(truth, [case((0, 0, 10, 10), labels=[1], scores=[0.11])]).mean == 1.0


def test_classes_are_averaged_and_those_without_truth_left_out():
    truth = [case((0, 0, 10, 10), labels=[1]), case((0, 0, 10, 10), labels=[2])]
    found = [case((0, 0, 10, 10), labels=[1], scores=[0.9]), case((0, 0, 10, 10), labels=[1], scores=[0.8])]
    result = object_map(truth, found, classes=[1, 2, 3])
    assert result.by_class[1] == 1.0
    assert result.by_class[2] == 0.0
    assert np.isnan(result.by_class[3])
    assert result.mean == 0.5


def test_boxes_in_3d_and_images_without_anything():
    truth = [case((0, 0, 0, 4, 4, 4), labels=[1], columns=6), case(labels=[], columns=6)]
    found = [case((0, 0, 3, 4, 4, 4), labels=[1], scores=[0.9], columns=6), case(labels=[], scores=[], columns=6)]
    assert object_map(truth, found).mean == 1.0
    assert object_map(truth, found, iou_threshold=0.25).mean == 0.0


def test_equals_the_slow_reference():
    generator = torch.Generator().manual_seed(5)
    truth, found = [], []
    for _ in range(25):
        for target, with_scores in ((truth, False), (found, True)):
            n = int(torch.randint(0, 5, (1,), generator=generator))
            low = torch.rand(n, 2, generator=generator) * 20
            boxes = torch.cat([low, low + 4 + torch.rand(n, 2, generator=generator) * 12], dim=1)
            entry = {"boxes": boxes, "labels": torch.randint(1, 3, (n,), generator=generator)}
            if with_scores:
                entry["scores"] = torch.rand(n, generator=generator)
            target.append(entry)
    result = object_map(truth, found)
    for label in (1, 2):
        hits, n_truth = slow_matches(truth, found, label, 0.1, 0.1)
        assert result.matches[label].hits.tolist() == hits
        assert result.by_class[label] == pytest.approx(slow_average_precision(hits, n_truth))


def test_resampling_equals_repeating_the_cases():
    generator = torch.Generator().manual_seed(6)
    truth = [case((0, 0, 10, 10), labels=[1 + k % 2]) for k in range(8)]
    found = [
        case((0, 0, 10, 10), (20, 0, 30, 10), labels=[1 + k % 2, 1], scores=torch.rand(2, generator=generator).tolist())
        for k in range(8)
    ]
    result = object_map(truth, found, min_score=0.0)
    counts = resampled_counts(range(8), 20, seed=3)
    assert counts.sum(axis=1).tolist() == [8] * 20
    values = result.resampled_mean(20, seed=3)
    for row, value in zip(counts, values):
        again = [k for k, times in enumerate(row) for _ in range(times)]
        repeated = object_map([truth[k] for k in again], [found[k] for k in again], min_score=0.0, classes=[1, 2])
        assert value == pytest.approx(repeated.mean)


def test_interval_is_repeatable_holds_the_mean_and_draws_whole_patients():
    truth = [case((0, 0, 10, 10), labels=[1]) for _ in range(40)]
    found = [case((0, 0, 10, 10), labels=[1], scores=[0.9]) if k % 2 else case(labels=[], scores=[]) for k in range(40)]
    result = object_map(truth, found)
    interval = result.interval(resamples=200, seed=1)
    assert interval == result.interval(resamples=200, seed=1)
    assert interval != result.interval(resamples=200, seed=2)
    assert interval.low < result.mean < interval.high
    counts = resampled_counts(["a", "b", "a", "c"], 50, seed=0)
    assert (counts[:, 0] == counts[:, 2]).all()
    assert result.interval(resamples=50, groups=["one"] * 40).low == pytest.approx(result.mean)


def test_percentiles_leave_undefined_resamples_out():
    interval = percentile_interval(np.array([np.nan, 0.0, 1.0, 2.0, 3.0, 4.0]), level=0.5)
    assert (interval.low, interval.high, interval.resamples) == (1.0, 3.0, 5)
    assert np.isnan(percentile_interval(np.array([np.nan])).low)


def test_faulty_arguments_are_told():
    one = [case((0, 0, 1, 1), labels=[1])]
    with pytest.raises(ValueError, match="as many predictions"):
        object_map(one, [])
    with pytest.raises(ValueError, match="iou_threshold"):
        object_map(one, [case(labels=[], scores=[])], iou_threshold=1.0)
    with pytest.raises(ValueError, match="as many labels"):
        object_map(one, [case((0, 0, 1, 1), labels=[1], scores=[0.5, 0.6])])
    with pytest.raises(ValueError, match="no true object"):
        object_map([case(labels=[])], [case(labels=[], scores=[])])
    with pytest.raises(ValueError, match="NaN"):
        object_map(one, [case((0, 0, 1, 1), labels=[1], scores=[float("nan")])])
    with pytest.raises(ValueError, match="laid over"):
        object_map(one, [case((0, 0, 0, 1, 1, 1), labels=[1], scores=[0.5], columns=6)])
    with pytest.raises(ValueError, match="bootstrap"):
        resampled_counts([], 10, 0)
    with pytest.raises(ValueError, match="level"):
        percentile_interval(np.zeros(3), level=1.0)
