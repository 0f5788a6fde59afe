"""The Ignite metric around ``object_map``, and the evaluation that writes its result."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError

from lesion_app.metrics.object_evaluation import ObjectEvaluation
from lesion_app.metrics.object_map import ObjectMap, ObjectMatches, object_map
from lesion_app.metrics.object_metric import ObjectMetric


def truth(name: str, *boxes: tuple[float, ...], labels: tuple[int, ...] = ()) -> dict:
    return {"id": name, "boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.tensor(labels, dtype=torch.int64)}


def found(*rows: tuple[float, float, float, float, float, int]) -> dict:
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    masks = torch.ones(len(table), 8, 8)
    return {"boxes": table[:, :4], "scores": table[:, 4], "labels": table[:, 5].long(), "masks": masks}


A, B = (0.0, 0.0, 10.0, 10.0), (20.0, 20.0, 30.0, 30.0)
BATCHES = [
    ([found((*A, 0.9, 1), (*B, 0.8, 1)), found()], [truth("c", A, labels=(1,)), truth("a", B, labels=(2,))]),
    ([found((*B, 0.7, 2))], [truth("b", B, A, labels=(2, 1))]),
]


def run(metric: ObjectMetric, batches=BATCHES, name: str = "object_map") -> dict:
    engine = Engine(lambda _, batch: batch)
    metric.attach(engine, name)
    return engine.run(batches).metrics


def test_equals_the_pure_function_and_writes_the_ap_of_each_class():
    metric = ObjectMetric(prefix="val_")
    metrics = run(metric)
    expected = object_map(
        [t for _, targets in BATCHES for t in targets], [p for predictions, _ in BATCHES for p in predictions]
    )
    assert list(metrics) == ["object_map", "val_ap_class_1", "val_ap_class_2"]
    assert metrics["object_map"] == expected.mean == pytest.approx(51 / 101)
    assert metrics["val_ap_class_2"] == expected.by_class[2]
    assert list(metric.cases) == ["a", "b", "c"]


def test_order_of_the_images_plays_no_part_even_with_equal_scores():
    same = [found((*A, 0.5, 1)), found((*B, 0.5, 1)), found((*A, 0.5, 1))]
    targets = [truth("a", A, labels=(1,)), truth("b", A, labels=(1,)), truth("c", A, labels=(1,))]
    forward = run(ObjectMetric(), [(same, targets)])
    backward = run(ObjectMetric(), [([p], [t]) for p, t in reversed(list(zip(same, targets)))])
    assert forward == backward


def test_epochs_do_not_add_up():
    metric = ObjectMetric()
    engine = Engine(lambda _, batch: batch)
    metric.attach(engine, "object_map")
    engine.run(BATCHES, max_epochs=2)
    assert len(metric.cases) == 3


def test_image_twice_uneven_batches_and_nothing_are_refused():
    metric = ObjectMetric()
    metric.update(([found()], [truth("a", A, labels=(1,))]))
    with pytest.raises(ValueError, match="twice"):
        metric.update(([found()], [truth("a", A, labels=(1,))]))
    with pytest.raises(ValueError, match="2 images came with 1 targets"):
        metric.update(([found(), found()], [truth("b", A, labels=(1,))]))
    with pytest.raises(NotComputableError):
        ObjectMetric().compute()


class Evaluator:
    """What a MONAI evaluator is to ``ObjectEvaluation``: something with ``run()``."""

    def __init__(self, metric: ObjectMetric) -> None:
        self.engine = Engine(lambda _, batch: batch)
        metric.attach(self.engine, "object_map")

    def run(self) -> None:
        self.engine.run(BATCHES)


def test_evaluation_writes_what_other_resamples_can_be_drawn_from(tmp_path):
    metric = ObjectMetric()
    evaluation = ObjectEvaluation(
        Evaluator(metric),  # type: ignore[arg-type]
        metric,
        tmp_path / "new",
        resamples=50,
        seed=3,
        facts={"split": "test"},
    )
    returned = evaluation.run()
    document = json.loads((tmp_path / "new" / "evaluation.json").read_text())
    assert document == json.loads(json.dumps(returned))
    assert (document["split"], document["images"], document["map"]) == ("test", 3, pytest.approx(51 / 101))
    assert document["by_class"].keys() == document["matches"].keys() == {"1", "2"}
    assert "IoU > 0.1" in document["metric"]
    matches = {
        int(label): ObjectMatches(
            np.array(m["scores"]), np.array(m["hits"], bool), np.array(m["cases"]), np.array(m["n_truth"])
        )
        for label, m in document["matches"].items()
    }
    again = ObjectMap(matches, document["map"], {}).interval(resamples=50, seed=3)
    assert (again.low, again.high) == (document["interval"]["low"], document["interval"]["high"])
