import multiprocessing
import os

import ignite.distributed as idist
import pytest
import torch
import torch.distributed as dist
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from monai.engines import SupervisedEvaluator

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.metrics.p3d import evaluate_p3d
from lesion_app.metrics.volume_metric import LesionMetric

SMALL, LARGE = (10.0, 10.0, 28.0, 28.0), (50.0, 50.0, 110.0, 100.0)


def target(name, *marks, **more):
    annotations = [{"slice": z, "box": list(box), "label": 1, **more} for z, box in marks]
    return {"id": name, "annotations": annotations, "spacing_mm": (0.8, 0.8, 2.0)}


def lesion(z, box, score):
    return Tracklet((z, z + 1), (box, box), (score, score / 2))


VOLUMES = [
    ([lesion(3, SMALL, 0.9), lesion(0, LARGE, 0.4)], target("a", (3, SMALL), (8, LARGE))),
    ([lesion(2, LARGE, 0.8)], target("b", (3, LARGE))),
    ([], target("c")),
]


def run(metric, volumes=VOLUMES, name="p3d_ap"):
    engine = Engine(lambda engine, batch: batch)
    metric.attach(engine, name)
    return engine.run([([pred], [truth]) for pred, truth in volumes]).metrics


def test_equals_the_pure_function_and_writes_all_figures():
    metric = LesionMetric(prefix="teacher_")
    metrics = run(metric, name="teacher_p3d_ap")
    curve = evaluate_p3d(
        {"a": [(3, SMALL), (8, LARGE)], "b": [(3, LARGE)], "c": []}, {"a": VOLUMES[0][0], "b": VOLUMES[1][0]}
    )
    fps = ("0.125", "0.25", "0.5", "1", "2", "4", "8", "16")
    names = ["teacher_p3d_ap", "teacher_average_sensitivity", *(f"teacher_sensitivity_at_{fp}" for fp in fps)]
    assert list(metrics) == names
    assert all(type(value) is float for value in metrics.values())
    assert metrics["teacher_p3d_ap"] == curve.average_precision == pytest.approx(2 / 3)
    assert metrics["teacher_average_sensitivity"] == curve.average_sensitivity
    assert metric.curve.hit_scores.tolist() == [0.9, -float("inf"), 0.8]


def test_sizes_are_long_sides_without_padding():
    metric = LesionMetric()
    run(metric)
    # 18 px - 2 x 5 px padding at 0.8 mm = 6.4 mm; 60 px - 10 px = 40 mm
    assert {name: (part.n_truth, part.recall) for name, part in metric.by_size.items()} == {
        "< 10 mm": (1, 1.0),
        "10-30 mm": (0, 0.0),
        ">= 30 mm": (2, 0.5),
    }


def test_order_of_volumes_does_not_matter_even_with_equal_scores():
    right, wrong = [lesion(0, SMALL, 0.5)], [lesion(0, LARGE, 0.5)]
    volumes = [(right, target("a", (0, SMALL))), (wrong, target("b", (0, SMALL)))]
    assert run(LesionMetric(), volumes) == run(LesionMetric(), volumes[::-1])


def test_each_epoch_starts_anew():
    metric = LesionMetric()
    first, second = run(metric), run(metric, VOLUMES[:1])
    assert metric.curve.n_volumes == 1
    assert first != second


def test_annotations_to_ignore_are_no_truth():
    metric = LesionMetric()
    run(metric, [([], target("a", (3, SMALL), kind="ignore")), ([], target("b", (3, SMALL), kind="lesion"))])
    assert metric.curve.n_truth == 1


def test_tensors_from_a_collated_batch_are_understood():
    metric = LesionMetric()
    truth = {
        "id": "a",
        "annotations": [{"slice": torch.tensor(3), "box": torch.tensor(SMALL), "label": torch.tensor(1)}],
        "spacing_mm": torch.tensor([0.8, 0.8, 2.0]),
    }
    metric.update(([VOLUMES[0][0][:1]], [truth]))
    assert metric.compute() == 1.0


def test_a_volume_seen_twice_is_refused():
    metric = LesionMetric()
    metric.update(([[]], [target("a")]))
    with pytest.raises(ValueError, match="'a' was evaluated twice"):
        metric.update(([[]], [target("a")]))
    with pytest.raises(ValueError, match="2 volumes came with 1"):
        metric.update(([[], []], [target("b")]))


def test_no_volume_no_result():
    with pytest.raises(NotComputableError):
        LesionMetric().compute()


def test_works_as_the_key_metric_of_a_monai_evaluator():
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[{"image": [pred], "label": [truth]} for pred, truth in VOLUMES],
        network=torch.nn.Identity(),
        prepare_batch=lambda batch, device, non_blocking, **kwargs: (batch["image"], batch["label"]),
        inferer=lambda inputs, network: inputs,
        decollate=False,
        key_val_metric={"p3d_ap": LesionMetric(output_transform=lambda output: (output["pred"], output["label"]))},
    )
    evaluator.run()
    assert evaluator.state.best_metric == evaluator.state.metrics["p3d_ap"] == pytest.approx(2 / 3)


def test_processes_that_saw_the_same_volume_are_told(monkeypatch):
    metric = LesionMetric()
    metric.update(([[]], [target("a")]))
    monkeypatch.setattr(idist, "all_gather", lambda state: [state, state])
    with pytest.raises(ValueError, match="even_divisible=False"):
        metric.compute()


def evaluate_share(rank, meeting, results):
    torch.set_num_threads(1)  # a forked process must not touch its parent's thread pool
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    metric = LesionMetric()
    for pred, truth in VOLUMES[rank::2]:
        metric.update(([pred], [truth]))
    results.put((metric.compute(), metric.curve.n_volumes))
    dist.destroy_process_group()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_two_processes_get_the_result_over_all_volumes(tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [
        context.Process(target=evaluate_share, args=(rank, tmp_path / "meeting", results), daemon=True)
        for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [(run(LesionMetric())["p3d_ap"], 3)] * 2
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
