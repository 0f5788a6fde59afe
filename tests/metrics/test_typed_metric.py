"""The metric of the evaluator: what it takes in, what it leaves out, what it reports."""

from __future__ import annotations

import json

import pytest
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError

from lesion_app.metrics.typed_evaluation import TypedEvaluation, TypedModelEvaluation, plain
from lesion_app.metrics.typed_metric import TypedDetectionMetric
from transforms.view import View

A, B, FAR = [10.0, 10, 38, 38], [50.0, 50, 110, 100], [150.0, 150, 170, 170]


def item(name, number, boxes, labels, **more):
    return {
        "id": name,
        "slice": number,
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "spacing_mm": (0.8, 0.8, 2.0),
        **more,
    }


def found(boxes, labels, scores):
    return {
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "scores": torch.tensor(scores),
    }


BATCHES = [
    ([found([A, FAR], [5, 5], [0.95, 0.45])], [item("a", 3, [A, B], [5, 2])]),
    ([found([A], [2], [0.6])], [item("a", 4, [A], [5])]),
    ([found([], [], [])], [item("b", 3, [], [])]),
]


def run(metric, batches=BATCHES):
    engine = Engine(lambda engine, batch: batch)
    metric.attach(engine, "val_map11")
    return engine.run(batches).metrics


def test_figures_of_a_small_epoch():
    metric = TypedDetectionMetric(prefix="val_")
    metrics = run(metric)
    # lung: one of two found at 0.95, a false one at 0.45: 1 * 0.5; abdomen: none of one, a false one
    assert metrics["val_map11"] == pytest.approx(0.25)
    assert list(metrics) == [f"val_{k}" for k in ("map11", "mean_iou", "coco_map", "ap50", "ap75", "missed_share")]
    assert all(type(value) is float for value in metrics.values())
    assert metrics["val_missed_share"] == pytest.approx(1 / 3)
    summary = metric.summary
    assert (summary["images"], summary["lesions"]) == (3, 3)
    assert summary["by_type"]["lung"]["average_precision"] == pytest.approx(0.5)
    assert summary["by_type"]["lung"]["lesions"] == 2
    assert metric.confusion[4, 4] == metric.confusion[4, 1] == metric.confusion[1, 8] == metric.confusion[8, 4] == 1
    # 28 px - 10 px padding at 0.8 mm = 14.4 mm; 50 px long side - 10 px = 40 mm
    assert {name: row["lesions"] for name, row in summary["by_size"].items()} == {
        "< 10 mm": 0,
        "10-30 mm": 2,
        ">= 30 mm": 1,
    }
    json.dumps(plain(summary), allow_nan=False)


def test_results_do_not_depend_on_the_order_of_images():
    one, two = TypedDetectionMetric(prefix="val_"), TypedDetectionMetric(prefix="val_")
    assert run(one) == run(two, BATCHES[::-1])
    assert one.summary["confusion"] == two.summary["confusion"]


def test_detections_in_ignored_regions_count_for_nothing_unless_they_hit():
    pred = found([A, B, FAR], [5, 5, 5], [0.95, 0.9, 0.85])
    regions = torch.tensor([[45.0, 45, 115, 105], [8.0, 8, 40, 40]])
    metric = TypedDetectionMetric()
    run(metric, [([pred], [item("a", 1, [A], [5], ignore=regions)])])
    assert metric.confusion[4, 4] == 1
    assert metric.confusion[8].sum() == 1  # FAR; B lies in a region


def test_sizes_are_those_of_the_original_slice():
    view = View(0.5, 0.5, -3.0, 2.0)
    pred, truth = found([A, B], [5, 2], [0.9, 0.8]), item("a", 1, [A, B], [5, 2])
    seen = {**pred, "boxes": view.apply(pred["boxes"])}
    moved = {**truth, "boxes": view.apply(truth["boxes"]), "view": view}
    plainly, mapped = TypedDetectionMetric(), TypedDetectionMetric()
    assert run(plainly, [([pred], [truth])]) == pytest.approx(run(mapped, [([seen], [moved])]))
    assert plain(plainly.summary["by_size"]) == plain(mapped.summary["by_size"])


def test_each_epoch_starts_anew_and_errors_are_told():
    metric = TypedDetectionMetric(prefix="val_")
    assert run(metric) != run(metric, BATCHES[:1])
    assert metric.summary["images"] == 1
    with pytest.raises(ValueError, match="twice"):
        run(TypedDetectionMetric(), [BATCHES[0], BATCHES[0]])
    with pytest.raises(ValueError, match="targets"):
        TypedDetectionMetric().update(([], BATCHES[0][1]))
    with pytest.raises(NotComputableError):
        TypedDetectionMetric().compute()


def test_evaluation_writes_its_files(tmp_path):
    metric = TypedDetectionMetric(prefix="val_")
    engine = Engine(lambda engine, batch: batch)
    metric.attach(engine, "val_map11")

    class Evaluator:
        def run(self):
            engine.run(BATCHES)

    document = TypedEvaluation(
        {"detector": TypedModelEvaluation(Evaluator(), metric)}, tmp_path, {"split": "test"}
    ).run()
    assert json.loads((tmp_path / "evaluation.json").read_text()) == document
    assert document["split"] == "test"
    assert document["models"]["detector"]["by_type"]["bone"]["average_precision"] is None
    assert (tmp_path / "froc.png").stat().st_size > 5000
    assert (tmp_path / "confusion-detector.png").stat().st_size > 5000
