"""LENS's metric as an evaluator sees it: lesions with 3D extents in, average sensitivity out."""

from __future__ import annotations

import pytest
from ignite.engine import Engine
from ignite.exceptions import NotComputableError

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.errors import InputError
from lesion_app.metrics.iobb_3d import evaluate_iobb_3d
from lesion_app.metrics.iobb_metric import IoBBMetric

SMALL, LARGE = (10.0, 10.0, 2.0, 28.0, 28.0, 4.0), (50.0, 50.0, 0.0, 110.0, 100.0, 6.0)


def target(name, *extents):
    marks = [{"slice": int(e[2]), "box": [*e[:2], *e[3:5]], "extent": list(e)} for e in extents]
    return {"id": name, "annotations": marks, "spacing_mm": (0.8, 0.8, 2.0)}


def lesion(slices, box, score):
    return Tracklet(tuple(slices), (box,) * len(slices), (score,) * len(slices))


# Wholly inside a lesion five times its size: IoBB 1, though the IoU is small. 29 % inside: a miss.
INSIDE = lesion((1, 2), (60.0, 60.0, 80.0, 80.0), 0.9)
BESIDE = lesion((2, 3), (22.8, 10.0, 40.8, 28.0), 0.7)
VOLUMES = [([INSIDE, BESIDE], target("a", SMALL, LARGE)), ([], target("b"))]


def run(metric, volumes=VOLUMES):
    engine = Engine(lambda engine, batch: batch)
    metric.attach(engine, "teacher_p3d_ap")
    return engine.run([([pred], [truth]) for pred, truth in volumes]).metrics


def test_equals_the_pure_function():
    metric = IoBBMetric(prefix="teacher_")
    metrics = run(metric)
    curve = evaluate_iobb_3d({"a": [SMALL, LARGE], "b": []}, {"a": [INSIDE, BESIDE]})
    assert metrics["teacher_average_sensitivity"] == curve.average_sensitivity
    assert metric.curve.hit_scores.tolist() == [-float("inf"), 0.9]
    assert (metric.criterion, metric.ap_name) == ("3D IoBB >= 0.3", "iobb_ap")


def test_sizes_are_long_sides_of_the_extents_without_padding():
    metric = IoBBMetric()
    run(metric)
    assert {name: (part.n_truth, part.recall) for name, part in metric.by_size.items() if part.n_truth} == {
        "< 10 mm": (1, 0.0),
        ">= 30 mm": (1, 1.0),
    }


def test_threshold_decides():
    metric = IoBBMetric(iobb_threshold=0.25)
    run(metric)
    assert metric.curve.hit_scores.tolist() == [0.7, 0.9]


def test_lesion_marked_on_one_slice_only_is_an_input_error():
    flat = target("a", SMALL)
    del flat["annotations"][0]["extent"]
    with pytest.raises(InputError, match="1 of 1 lesions of a are marked on one slice only"):
        IoBBMetric().update(([[]], [flat]))


def test_epochs_do_not_add_up():
    metric = IoBBMetric()
    run(metric)
    run(metric, VOLUMES[:1])
    assert metric.curve.n_volumes == 1


def test_volume_twice_and_no_volume_are_refused():
    metric = IoBBMetric()
    with pytest.raises(NotComputableError):
        metric.compute()
    metric.update(([[]], [target("a", SMALL)]))
    with pytest.raises(ValueError, match="twice"):
        metric.update(([[]], [target("a", SMALL)]))
