"""LENS's metric over the volumes of an epoch: 3D boxes, intersection over the detected box."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch

from lesion_app.boxes.tracklet import Box2D, Tracklet
from lesion_app.errors import InputError
from lesion_app.metrics.by_size import SIZE_EDGES_MM
from lesion_app.metrics.froc import FrocCurve
from lesion_app.metrics.iobb_3d import evaluate_iobb_3d
from lesion_app.metrics.volume_metric import LesionMetric

_Extent = tuple[float, float, float, float, float, float]


class IoBBMetric(LesionMetric):
    """Average sensitivity at 1/8 to 8 false positives a sub-volume by 3D IoBB, with the average precision beside it.

    Yan et al., "Learning from multiple datasets with heterogeneous and partial labels for universal lesion detection in
    CT", IEEE TMI 40(10), 2021, section VI-C. Input, figures and distributed runs are those of `LesionMetric`, but every
    lesion of a target needs its 3D ``extent`` (x1, y1, z1, x2, y2, z2): px of the original grid and slice indices,
    half-open.

    Args:
        output_transform, prefix, size_edges_mm, box_padding_px, device: as in `LesionMetric`; sizes are the long sides
            of the extents.
        iobb_threshold: smallest share of a detected 3D box inside the true one.

    Raises:
        InputError: from ``update`` for a lesion without extent.
    """

    ap_name = "iobb_ap"

    def __init__(
        self,
        output_transform: Callable = lambda output: output,
        prefix: str = "",
        iobb_threshold: float = 0.3,
        size_edges_mm: Sequence[float] = SIZE_EDGES_MM,
        box_padding_px: float = 5.0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.iobb_threshold = iobb_threshold
        super().__init__(
            output_transform, prefix, size_edges_mm=size_edges_mm, box_padding_px=box_padding_px, device=device
        )
        self.criterion = f"3D IoBB >= {iobb_threshold:g}"

    def _truth(self, name: str, marks: Sequence[Mapping[str, Any]]) -> list[_Extent]:
        flat = sum("extent" not in mark for mark in marks)
        if flat:
            raise InputError(
                f"{flat} of {len(marks)} lesions of {name} are marked on one slice only; 3D IoBB needs "
                "lesions marked in 3D, so evaluate with P3D (without lens_evaluate) or prepare with 3D annotations."
            )
        return [cast("_Extent", tuple(float(v) for v in mark["extent"])) for mark in marks]

    def _curve(self, truth: Mapping[str, list[Any]], found: Mapping[str, list[Tracklet]]) -> FrocCurve:
        return evaluate_iobb_3d(truth, found, self.iobb_threshold)

    def _plane(self, mark: _Extent) -> Box2D:
        x1, y1, _, x2, y2, _ = mark
        return x1, y1, x2, y2
