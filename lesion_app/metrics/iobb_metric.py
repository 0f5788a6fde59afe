"""LENS's metric over the volumes of an epoch: 3D boxes, intersection over the detected box."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
import torch
from ignite.exceptions import NotComputableError

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.errors import InputError
from lesion_app.metrics.by_size import SIZE_EDGES_MM, froc_by_size, long_side_mm
from lesion_app.metrics.iobb_3d import evaluate_iobb_3d
from lesion_app.metrics.volume_metric import LesionMetric

_Extent = tuple[float, float, float, float, float, float]
_Volume = tuple[list[Tracklet], list[_Extent], list[float]]


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
        self._found: dict[str, _Volume] = {}
        super().__init__(
            output_transform, prefix, size_edges_mm=size_edges_mm, box_padding_px=box_padding_px, device=device
        )
        self.criterion = f"3D IoBB >= {iobb_threshold:g}"

    def reset(self) -> None:
        """Forget the volumes of the epoch; ``curve`` and ``by_size`` stay until the next result."""
        super().reset()
        self._found = {}

    def update(self, output: tuple[Sequence[Sequence[Tracklet]], Sequence[Mapping[str, Any]]]) -> None:
        """Take in the volumes of a batch."""
        super().update(output)
        for lesions, volume in zip(*output):
            marks = [mark for mark in volume["annotations"] if mark.get("kind", "lesion") == "lesion"]
            flat = sum("extent" not in mark for mark in marks)
            if flat:
                raise InputError(
                    f"{flat} of {len(marks)} lesions of {volume['id']} are marked on one slice only; 3D IoBB needs "
                    "lesions marked in 3D, so evaluate with P3D (without lens_evaluate) or prepare with 3D annotations."
                )
            extents = [cast("_Extent", tuple(float(v) for v in mark["extent"])) for mark in marks]
            self._found[str(volume["id"])] = (list(lesions), extents, [float(mm) for mm in volume["spacing_mm"]])

    def compute(self) -> float:
        """Average precision over the volumes of all processes."""
        volumes: dict[str, _Volume] = {}
        for of_process in cast("list[dict[str, _Volume]]", idist.all_gather(self._found)):
            repeated = sorted(volumes.keys() & of_process.keys())
            if repeated:
                raise ValueError(
                    f"{len(repeated)} volume(s), first {repeated[0]!r}, were evaluated by two processes; "
                    "the validation sampler must not pad (DistributedSampler with even_divisible=False)"
                )
            volumes.update(of_process)
        if not volumes:
            raise NotComputableError("IoBBMetric needs at least one volume before a result")
        # Sorted, so that equal scores rank the same however the volumes were spread over processes.
        names = sorted(volumes)
        truth = {name: volumes[name][1] for name in names}
        self.curve = evaluate_iobb_3d(truth, {name: volumes[name][0] for name in names}, self.iobb_threshold)
        sizes = [
            long_side_mm([(x1, y1, x2, y2) for x1, y1, _, x2, y2, _ in truth[n]], volumes[n][2], self.box_padding_px)
            for n in names
        ]
        self.by_size = froc_by_size(self.curve, np.concatenate(sizes), self.size_edges_mm)
        return self.curve.average_precision
