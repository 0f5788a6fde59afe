"""Evaluates a detector of classified objects on images and writes what came out, detections included."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine

from lesion_app.atomic_file import replacing
from lesion_app.metrics.bootstrap import Interval
from lesion_app.metrics.object_metric import ObjectMetric
from lesion_app.metrics.volume_object_metric import VolumeObjectMetric

logger = logging.getLogger("lesion_app.evaluation")


class ObjectEvaluation:
    """Runs an evaluator and writes ``evaluation.json``.

    The file holds the mAP with its bootstrap interval over images (of volumes: over patients, and the patients' AP and
    AUC), the AP of each class, and under ``matches`` every counted detection (score, hit or not, number of its image)
    and the true objects of every image, from which other resamples can be drawn without the model (`ObjectMatches`).
    What has no value (the AP of a class without true objects) is null.

    Args:
        evaluator: with ``metric`` attached.
        metric: of the evaluator.
        output_dir: receives the file.
        resamples, seed, level: of the interval.
        facts: further entries (split, weights ...).
    """

    def __init__(
        self,
        evaluator: Engine,
        metric: ObjectMetric,
        output_dir: str | Path,
        resamples: int = 1000,
        seed: int = 0,
        level: float = 0.95,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.evaluator = evaluator
        self.metric = metric
        self.output_dir = Path(output_dir)
        self.resamples = resamples
        self.seed = seed
        self.level = level
        self.facts = dict(facts or {})

    def run(self) -> dict[str, Any]:
        """Evaluate and write the file; returns what it holds."""
        self.evaluator.run()  # type: ignore[call-arg]
        result = self.metric.result
        assert result is not None  # set when the evaluator's epoch ended
        interval = result.interval(self.level, self.resamples, self.seed, self.metric.groups)
        document: dict[str, Any] = {
            **self.facts,
            "metric": f"mAP at IoU > {self.metric.iou_threshold:g}, scores > {self.metric.min_score:g}",
            "map": _known(result.mean),
            "interval": _told(interval),
            "by_class": {str(label): _known(value) for label, value in result.by_class.items()},
            **self._patients(),
            "images": len(self.metric.cases),
            "matches": {
                str(label): {
                    "scores": [round(score, 6) for score in matches.scores.tolist()],
                    "hits": matches.hits.astype(int).tolist(),
                    "cases": matches.cases.tolist(),
                    "n_truth": matches.n_truth.tolist(),
                }
                for label, matches in result.matches.items()
            },
        }
        path = self.output_dir / "evaluation.json"
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(document, allow_nan=False) + "\n")
        logger.info(
            "mAP %.3f (%.0f %% interval %.3f to %.3f) on %d images; wrote %s",
            result.mean,
            100 * interval.level,
            interval.low,
            interval.high,
            len(self.metric.cases),
            path,
        )
        return document

    def _patients(self) -> dict[str, Any]:
        """What a metric of volumes adds."""
        if not isinstance(self.metric, VolumeObjectMetric) or self.metric.patients is None:
            return {}
        patients = self.metric.patients
        interval = patients.interval(self.level, self.resamples, self.seed)
        return {
            "patients": len(patients.patients),
            "patient_ap": _known(patients.average_precision),
            "patient_ap_interval": _told(interval),
            "patient_auc": _known(patients.auc),
        }


def _known(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def _told(interval: Interval) -> dict[str, float | None]:
    return {"low": _known(interval.low), "high": _known(interval.high), "level": interval.level}
