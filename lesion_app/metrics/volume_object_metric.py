"""The validation metric of volumes with classified 3D lesions: mAP at IoU 0.1, and AP of patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.metrics.object_metric import ObjectMetric
from lesion_app.metrics.patient_level_ap import PatientScores, patient_scores


class VolumeObjectMetric(ObjectMetric):
    """`ObjectMetric` over the tracklets of whole volumes, their 3D boxes against the true ``extent``.

    Jaeger et al., "Retina U-Net", 2019, section 4.3 and table 1 (mAP_10, AP_pat). ``update`` takes ``(pred, target)``:
    one list of ``Tracklet`` a volume, and one dict a volume, ``{"id", "patient_id", "annotations": [{"slice", "box",
    "label", "extent"}]}``, all in voxels of the volume as read, half-open; a lesion without an ``extent`` is as deep as
    its slice. Beside what `ObjectMetric` writes, ``engine.state.metrics`` gets ``<prefix>patient_ap`` and
    ``<prefix>patient_auc``, and ``patients`` holds every patient's score.

    Args:
        output_transform, prefix, iou_threshold, min_score, classes, device: see `ObjectMetric`.
        patient_class: class of the AP over patients; the paper's is malignant, 2.
    """

    def __init__(
        self,
        output_transform: Callable = lambda output: output,
        prefix: str = "",
        iou_threshold: float = 0.1,
        min_score: float = 0.1,
        classes: Sequence[int] | None = None,
        patient_class: int = 2,
        device: str | torch.device = "cpu",
    ) -> None:
        self.patient_class = patient_class
        self.patients: PatientScores | None = None
        self.patient_of: dict[str, str] = {}
        super().__init__(output_transform, prefix, iou_threshold, min_score, classes, device)

    def reset(self) -> None:
        """Forget the volumes of the epoch."""
        super().reset()
        self.patient_of = {}

    def update(  # type: ignore[override]
        self, output: tuple[Sequence[Sequence[Tracklet]], Sequence[Mapping[str, Any]]]
    ) -> None:
        """Take in the volumes of a batch."""
        pred, target = output
        if len(pred) != len(target):
            raise ValueError(f"predictions for {len(pred)} volumes came with {len(target)} targets")
        super().update(([_found(lesions) for lesions in pred], [_true(volume) for volume in target]))
        self.patient_of |= {str(volume["id"]): str(volume["patient_id"]) for volume in target}

    def compute(self) -> float:
        """Mean AP over the volumes of all processes; sets ``patients``."""
        self.patient_of = {k: v for part in idist.all_gather(self.patient_of) for k, v in part.items()}  # type: ignore
        mean = super().compute()
        self.patients = patient_scores(
            [self.patient_of[name] for name in self.cases],
            [true for _, true in self.cases.values()],
            [found for found, _ in self.cases.values()],
            self.patient_class,
        )
        return mean

    @property
    def groups(self) -> list[str]:
        """Patient of every volume, in the order of ``cases``: who is drawn together by a bootstrap."""
        return [self.patient_of[name] for name in self.cases]

    def completed(self, engine: Engine, name: str) -> None:
        """Write the results to ``engine.state.metrics``."""
        super().completed(engine, name)
        assert self.patients is not None  # set by compute()
        engine.state.metrics[f"{self.prefix}patient_ap"] = self.patients.average_precision
        engine.state.metrics[f"{self.prefix}patient_auc"] = self.patients.auc


def _found(lesions: Sequence[Tracklet]) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor([lesion.extent for lesion in lesions], dtype=torch.float64).reshape(-1, 6),
        "scores": torch.tensor([lesion.score for lesion in lesions], dtype=torch.float64),
        "labels": torch.tensor([lesion.label for lesion in lesions], dtype=torch.int64),
    }


def _true(volume: Mapping[str, Any]) -> dict[str, Any]:
    marks = [mark for mark in volume["annotations"] if mark.get("kind", "lesion") == "lesion"]
    return {
        "id": volume["id"],
        "boxes": torch.tensor([_extent(mark) for mark in marks], dtype=torch.float64).reshape(-1, 6),
        "labels": torch.tensor([mark["label"] for mark in marks], dtype=torch.int64),
    }


def _extent(mark: Mapping[str, Any]) -> list[float]:
    if "extent" in mark:
        return [float(value) for value in mark["extent"]]
    x1, y1, x2, y2 = mark["box"]
    return [x1, y1, mark["slice"], x2, y2, mark["slice"] + 1]
