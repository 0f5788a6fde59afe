"""3D lesions of whole volumes: mAP at IoU 0.1 and the AP of patients."""

from __future__ import annotations

import json

import pytest
from ignite.engine import Engine

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.metrics.object_evaluation import ObjectEvaluation
from lesion_app.metrics.volume_object_metric import VolumeObjectMetric

BOX = (10.0, 10.0, 20.0, 20.0)


def lesion(z: range, label: int, score: float, box=BOX) -> Tracklet:
    return Tracklet(tuple(z), (box,) * len(z), (score,) * len(z), label)


def volume(name: str, patient: str, *marks: dict) -> dict:
    return {"id": name, "patient_id": patient, "annotations": list(marks), "spacing_mm": (0.7, 0.7, 2.5)}


def mark(z1: int, z2: int, label: int, kind: str = "lesion", box=BOX) -> dict:
    x1, y1, x2, y2 = box
    return {"slice": z1, "box": list(box), "label": label, "kind": kind, "extent": [x1, y1, z1, x2, y2, z2]}


BATCHES = [
    ([[lesion(range(2, 6), 2, 0.9)]], [volume("a", "P1", mark(3, 6, 2))]),
    ([[lesion(range(2), 1, 0.8)]], [volume("b", "P2", mark(8, 10, 1), mark(0, 3, 2, "ignore"))]),
    ([[], [lesion(range(1), 2, 0.95)]], [volume("c", "P1"), volume("d", "P3", mark(0, 1, 1))]),
]


def run(metric: VolumeObjectMetric) -> dict:
    engine = Engine(lambda _, batch: batch)
    metric.attach(engine, "teacher_object_map")
    return engine.run(BATCHES).metrics


def test_worked_example():
    metric = VolumeObjectMetric(prefix="teacher_")
    metrics = run(metric)
    # malignant: .95 is false, .9 hits (IoU 3 of 4 slices); benign: .8 misses two lesions
    assert metrics["teacher_ap_class_2"] == pytest.approx(0.5)
    assert metrics["teacher_ap_class_1"] == 0.0
    assert metrics["teacher_object_map"] == pytest.approx(0.25)
    # P1 has a malignant nodule and .9; P3 has .95 and none; P2 has 0
    assert metrics["teacher_patient_ap"] == pytest.approx(0.5)
    assert metrics["teacher_patient_auc"] == pytest.approx(0.5)
    assert metric.groups == ["P1", "P2", "P1", "P3"]


def test_depth_counts_and_a_mark_without_extent_is_one_slice_deep():
    engine = Engine(lambda _, batch: batch)
    VolumeObjectMetric().attach(engine, "m")
    shallow = {key: value for key, value in mark(4, 5, 1).items() if key != "extent"}
    deep = [lesion(range(20), 1, 0.9)]
    assert engine.run([([deep], [volume("a", "P", shallow)])]).metrics["m"] == 0.0
    assert engine.run([([deep], [volume("a", "P", mark(0, 10, 1))])]).metrics["m"] == 1.0


def test_evaluation_tells_of_patients_and_has_no_nan(tmp_path):
    metric = VolumeObjectMetric(patient_class=3)
    engine = Engine(lambda _, batch: batch)
    metric.attach(engine, "m")

    class Evaluator:
        def run(self) -> None:
            engine.run(BATCHES)

    ObjectEvaluation(Evaluator(), metric, tmp_path, resamples=20).run()  # type: ignore[arg-type]
    document = json.loads((tmp_path / "evaluation.json").read_text())
    assert document["patients"] == 3
    assert document["patient_ap"] is None
    assert document["map"] == pytest.approx(0.25)
    assert document["interval"]["low"] <= 0.25 <= document["interval"]["high"]


def test_uneven_batch_and_volume_twice_are_refused():
    metric = VolumeObjectMetric()
    with pytest.raises(ValueError, match="1 volumes came with 0 targets"):
        metric.update(([[]], []))
    metric.update(([[]], [volume("a", "P")]))
    with pytest.raises(ValueError, match="twice"):
        metric.update(([[]], [volume("a", "P")]))
