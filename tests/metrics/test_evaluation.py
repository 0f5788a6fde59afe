"""The files and the table of an evaluation, for models whose detections are scripted."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from ignite.engine import Engine
from rich.console import Console

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.errors import InputError
from lesion_app.metrics.evaluation import Evaluation, ModelEvaluation, print_table
from lesion_app.metrics.object_metric import ObjectMetric
from lesion_app.metrics.volume_metric import LesionMetric

TRUTH = {"id": "000001_01_01_001-010", "spacing_mm": (0.8, 0.8, 5.0)}
LESIONS = [{"slice": 3, "box": [10, 10, 40, 40]}, {"slice": 7, "box": [60, 60, 80, 80]}]


class ScriptedEvaluator(Engine):
    """Evaluates one volume on which ``found`` was detected."""

    def __init__(self, found: list[Tracklet], metric: LesionMetric) -> None:
        super().__init__(lambda engine, batch: ([found], [{**TRUTH, "annotations": LESIONS}]))
        metric.attach(self, "p3d_ap")

    def run(self, *args, **kwargs):
        return super().run([0], max_epochs=1)


def model(found: list[Tracklet]) -> ModelEvaluation:
    metric = LesionMetric()
    return ModelEvaluation(ScriptedEvaluator(found, metric), metric)


def tracklet(z: int, box: tuple[float, float, float, float], score: float) -> Tracklet:
    return Tracklet((z,), (box,), (score,))


def test_each_model_gets_its_figures_in_the_file_and_a_curve_in_the_plot(tmp_path: Path) -> None:
    both = [tracklet(3, (10, 10, 40, 40), 0.9), tracklet(7, (60, 60, 80, 80), 0.8)]
    models = {"teacher": model(both), "student": model([*both[:1], tracklet(1, (0, 0, 9, 9), 0.95)])}
    document = Evaluation(models, tmp_path / "out", {"split": "test"}).run()
    assert document == json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert document["split"] == "test"
    assert document["models"]["teacher"]["p3d_ap"] == pytest.approx(1.0)
    assert document["models"]["student"]["p3d_ap"] == pytest.approx(0.25)  # half of the lesions at half precision
    assert document["models"]["teacher"]["lesions"] == 2
    assert sum(part["lesions"] for part in document["models"]["teacher"]["by_size"].values()) == 2
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["evaluation.json", "froc.png"]


def test_table_fits_a_terminal_of_eighty_columns(tmp_path: Path) -> None:
    document = Evaluation({"teacher": model([tracklet(3, (10, 10, 40, 40), 0.9)])}, tmp_path).run()
    output = io.StringIO()
    print_table(document["models"], console=Console(file=output, width=80))
    text = output.getvalue()
    assert "…" not in text
    assert "teacher" in text
    assert "50.0" in text


def test_metric_that_the_evaluation_cannot_tell_is_refused_with_the_way_out(tmp_path: Path) -> None:
    evaluator = model([]).evaluator
    with pytest.raises(InputError, match=r"the teacher is measured by ObjectMetric; name the config .* lidc_evaluate"):
        Evaluation({"teacher": ModelEvaluation(evaluator, ObjectMetric())}, tmp_path).run()  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"does not compute LesionMetric, .* \(--config toy_evaluate, for example\)"):
        Evaluation({"teacher": ModelEvaluation(evaluator, LesionMetric())}, tmp_path).run()
    assert list(tmp_path.iterdir()) == []
