"""Evaluates typed detectors and writes what came out: table, JSON, FROC plot and confusion matrix."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ignite.engine import Engine
from rich.console import Console
from rich.table import Table

from lesion_app.atomic_file import replacing
from lesion_app.metrics.froc import FrocCurve
from lesion_app.metrics.typed_metric import TypedDetectionMetric
from lesion_app.visualize.confusion_picture import draw_confusion
from lesion_app.visualize.froc_plot import plot_froc

logger = logging.getLogger("lesion_app.evaluation")


@dataclass(frozen=True)
class TypedModelEvaluation:
    """An evaluator and the metric attached to it."""

    evaluator: Engine
    metric: TypedDetectionMetric


class TypedEvaluation:
    """Runs the evaluation of one or more typed detectors on the same key slices.

    Args:
        models: by the name shown.
        output_dir: receives ``evaluation.json`` (``models`` by name with `TypedDetectionMetric`'s ``summary``; null
            where there is nothing to measure), ``froc.png`` and ``confusion-<name>.png``.
        facts: further entries of the JSON (split, weights ...).
    """

    def __init__(
        self,
        models: Mapping[str, TypedModelEvaluation],
        output_dir: str | Path,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.models = dict(models)
        self.output_dir = Path(output_dir)
        self.facts = dict(facts or {})

    def run(self) -> dict[str, Any]:
        """Evaluate, write the files, print the table; returns what ``evaluation.json`` holds."""
        curves: dict[str, FrocCurve] = {}
        document: dict[str, Any] = {**self.facts, "models": {}}
        for name, model in self.models.items():
            model.evaluator.run()  # type: ignore[call-arg]
            metric = model.metric
            assert metric.curve is not None  # set when the evaluator's epoch ended
            assert metric.confusion is not None
            curves[name] = metric.curve
            document["models"][name] = plain(metric.summary)
            draw_confusion(
                metric.confusion,
                metric.class_names,
                self.output_dir / f"confusion-{name}.png",
                title=f"{name}: score >= {metric.score_threshold:g}, IoU > {metric.iou_threshold:g}",
            )
        plot = plot_froc(curves, self.output_dir / "froc.png", title="Lesions of the right type", unit="image")
        path = self.output_dir / "evaluation.json"
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n")
        print_typed_table(document["models"])
        logger.info("wrote %s and %s", path, plot)
        return document


def print_typed_table(models: Mapping[str, Mapping[str, Any]], console: Console | None = None) -> None:
    """Print mAP, mean IoU, misses and the AP of every type, one column a model, in per cent."""
    first = next(iter(models.values()))
    title = f"IoU > {first['iou_threshold']:g} on {first['images']} key slices, {first['lesions']} lesions (per cent)"
    table = Table(title=title)
    table.add_column("")
    for name in models:
        table.add_column(name, justify="right")
    for label, key in _ROWS.items():
        table.add_row(label, *(_cell(found[key]) for found in models.values()))
    table.add_section()
    for kind, row in first["by_type"].items():
        cells = [_cell(found["by_type"][kind]["average_precision"]) for found in models.values()]
        table.add_row(f"AP {kind} ({row['lesions']})", *cells)
    (console or Console()).print(table)


_ROWS = {
    "mAP, 11 scores": "map11",
    "mean IoU": "mean_iou",
    "COCO mAP": "coco_map",
    "AP, IoU 0.5": "ap50",
    "AP, IoU 0.75": "ap75",
    "missed": "missed_share",
}


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: not-a-number becomes None, wherever it stands."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
