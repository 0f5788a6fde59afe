"""Evaluates models one after the other and writes what came out: table, JSON and FROC plot."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine
from rich.console import Console
from rich.table import Table

from lesion_app.atomic_file import replacing
from lesion_app.errors import InputError
from lesion_app.metrics.froc import FROC_FPS, FrocCurve
from lesion_app.metrics.volume_metric import LesionMetric
from lesion_app.visualize.froc_plot import plot_froc

logger = logging.getLogger("lesion_app.evaluation")


@dataclass(frozen=True)
class ModelEvaluation:
    """An evaluator and the metric attached to it."""

    evaluator: Engine
    metric: LesionMetric


class Evaluation:
    """Runs the evaluation of one or more models on the same volumes.

    Args:
        models: by the name shown (``teacher``, ``student``).
        output_dir: receives ``evaluation.json`` (figures and curves) and ``froc.png``.
        facts: further entries of the JSON (split, weights ...).
    """

    def __init__(
        self, models: Mapping[str, ModelEvaluation], output_dir: str | Path, facts: Mapping[str, Any] | None = None
    ) -> None:
        self.models = dict(models)
        self.output_dir = Path(output_dir)
        self.facts = dict(facts or {})

    def run(self) -> dict[str, Any]:
        """Evaluate, write the files, print the table; returns what ``evaluation.json`` holds.

        Raises:
            InputError: a metric that is none of lesions in volumes, or that the evaluator does not compute.
        """
        curves: dict[str, FrocCurve] = {}
        for name, model in self.models.items():
            if not isinstance(model.metric, LesionMetric):
                raise InputError(
                    f"this evaluation expects a LesionMetric, but the {name} is measured by "
                    f"{type(model.metric).__name__}; name the config that evaluates this data set behind evaluate.json "
                    "(--config evaluate --config lidc_evaluate, for example)"
                )
        criterion = next(iter(self.models.values())).metric.criterion
        document: dict[str, Any] = {**self.facts, "metric": criterion, "models": {}}
        for name, model in self.models.items():
            model.evaluator.run()  # type: ignore[call-arg]
            if model.metric.curve is None:  # set when an epoch of the evaluator it is attached to ended
                raise InputError(
                    f"the evaluator of the {name} does not compute {type(model.metric).__name__}, which this "
                    "evaluation expects; name the config that evaluates this data set in the place of evaluate.json "
                    "(--config toy_evaluate, for example)"
                )
            curves[name] = model.metric.curve
            document["models"][name] = figures(model.metric.curve, model.metric.by_size, model.metric.ap_name)
        path = self.output_dir / "evaluation.json"
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n")
        plot = plot_froc(curves, self.output_dir / "froc.png")
        print_table(document["models"], criterion)
        logger.info("wrote %s and %s", path, plot)
        return document


def figures(curve: FrocCurve, by_size: Mapping[str, FrocCurve], ap_name: str = "p3d_ap") -> dict[str, Any]:
    """Plain numbers of a curve, as stored in ``evaluation.json``; its average precision is called ``ap_name``."""
    found = {
        ap_name: curve.average_precision,
        "average_sensitivity": curve.average_sensitivity,
        "sensitivity": {f"{fp:g}": float(s) for fp, s in zip(FROC_FPS, curve.sensitivity_at(FROC_FPS))},
        "lesions": curve.n_truth,
        "sub_volumes": curve.n_volumes,
        "by_size": {
            name: {
                "lesions": part.n_truth,
                ap_name: part.average_precision,
                "average_sensitivity": part.average_sensitivity,
            }
            for name, part in by_size.items()
            if part.n_truth
        },
        "threshold_at_1_fp": curve.choose_threshold(1.0),
    }
    return {k: (v if not isinstance(v, np.generic) else v.item()) for k, v in found.items()}


def print_table(
    models: Mapping[str, Mapping[str, Any]], criterion: str = "P3D IoU >= 0.5", console: Console | None = None
) -> None:
    """Print AP and sensitivities of every model as one table, in per cent."""
    first = next(iter(models.values()))
    ap_name = next(key for key in first if key.endswith("_ap"))
    table = Table(title=f"{criterion} on {first['sub_volumes']} sub-volumes, {first['lesions']} lesions (per cent)")
    table.add_column("model")
    table.add_column("AP", justify="right", style="bold")
    table.add_column("avg.\nsens.", justify="right")
    for fp in FROC_FPS[:7]:
        table.add_column(f"{fp:g}\nFP", justify="right")
    for name, found in models.items():
        sensitivities = [f"{100 * found['sensitivity'][f'{fp:g}']:.1f}" for fp in FROC_FPS[:7]]
        table.add_row(name, f"{100 * found[ap_name]:.1f}", f"{100 * found['average_sensitivity']:.1f}", *sensitivities)
    (console or Console()).print(table)
