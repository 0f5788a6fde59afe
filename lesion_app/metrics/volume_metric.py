"""The validation metric of training and evaluation: whole volumes, P3D IoU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from ignite.engine import Engine
from ignite.metrics import Metric

from lesion_app.boxes.tracklet import Box2D, Tracklet
from lesion_app.metrics.by_size import SIZE_EDGES_MM, froc_by_size, long_side_mm
from lesion_app.metrics.froc import FROC_FPS, FrocCurve
from lesion_app.metrics.p3d import P3DProtocol, evaluate_p3d
from lesion_app.metrics.whole_epoch import whole_epoch

_Volume = tuple[list[Tracklet], list[Any], list[float]]


class LesionMetric(Metric):
    """P3D average precision over the volumes of an epoch, with the FROC beside it.

    ``update`` takes ``(pred, target)``: ``pred`` has one list of ``Tracklet`` a volume, ``target`` one dict a volume,
    ``{"id": str, "annotations": [{"slice", "box", ...}], "spacing_mm": (x, y, z)}``. Slices are 0-based indices of the
    volume as read, boxes px of its original grid, half-open, on both sides. Annotations whose ``kind`` is other than
    ``lesion`` are no truth. In a distributed run every process gets the result over all volumes.

    At the end of the epoch ``engine.state.metrics`` holds, beside the average precision under the metric's own name,
    ``<prefix>average_sensitivity`` and ``<prefix>sensitivity_at_0.125`` ... ``_16`` (MLflow refuses an ``@``), and
    ``curve`` and ``by_size`` hold the ``FrocCurve`` of all lesions and of each size, for plots.

    Args:
        output_transform: from ``engine.state.output`` to ``(pred, target)``.
        prefix: of the names, e.g. ``"teacher_"``.
        iou_threshold: smallest P3D IoU of a hit.
        protocol: see ``evaluate_p3d``.
        size_edges_mm: borders of the size bins, long side of the lesion.
        box_padding_px: margin of the true boxes around the lesion, taken off before measuring sizes; DeepLesion's 5.
        device: Ignite's; the metric itself works on the CPU.

    Raises:
        ValueError: from ``update`` when the two sides differ in length or a volume comes twice in an epoch; from
            ``compute`` when two processes saw the same volume.
        ignite.exceptions.NotComputableError: from ``compute`` without any volume.

    Attributes:
        criterion: what a hit is, in words.
        ap_name: what the average precision is called in ``evaluation.json``.
    """

    ap_name = "p3d_ap"

    def __init__(
        self,
        output_transform: Callable = lambda output: output,
        prefix: str = "",
        iou_threshold: float = 0.5,
        protocol: P3DProtocol = "lesion_harvester",
        size_edges_mm: Sequence[float] = SIZE_EDGES_MM,
        box_padding_px: float = 5.0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.prefix = prefix
        self.iou_threshold = iou_threshold
        self.protocol = protocol
        self.size_edges_mm = tuple(size_edges_mm)
        self.box_padding_px = box_padding_px
        self.curve: FrocCurve | None = None
        self.by_size: dict[str, FrocCurve] = {}
        self.criterion = f"P3D IoU >= {iou_threshold:g}"
        self._volumes: dict[str, _Volume] = {}
        # A batch is lists of lists, which Ignite would otherwise take for tensors to be fed one by one.
        super().__init__(output_transform, device=device, skip_unrolling=True)

    def reset(self) -> None:
        """Forget the volumes of the epoch; ``curve`` and ``by_size`` stay until the next result."""
        self._volumes = {}

    def update(self, output: tuple[Sequence[Sequence[Tracklet]], Sequence[Mapping[str, Any]]]) -> None:
        """Take in the volumes of a batch."""
        pred, target = output
        if len(pred) != len(target):
            raise ValueError(f"predictions for {len(pred)} volumes came with {len(target)} targets")
        for lesions, volume in zip(pred, target):
            name = str(volume["id"])
            if name in self._volumes:
                raise ValueError(f"volume {name!r} was evaluated twice in one epoch; ids must be unique")
            marks = [mark for mark in volume["annotations"] if mark.get("kind", "lesion") == "lesion"]
            self._volumes[name] = (list(lesions), self._truth(name, marks), [float(mm) for mm in volume["spacing_mm"]])

    def compute(self) -> float:
        """Average precision over the volumes of all processes."""
        volumes = whole_epoch(self._volumes, type(self).__name__, "volume")
        truth = {name: marks for name, (_, marks, _) in volumes.items()}
        self.curve = self._curve(truth, {name: found for name, (found, _, _) in volumes.items()})
        sizes = [
            long_side_mm([self._plane(mark) for mark in marks], spacing, self.box_padding_px)
            for _, marks, spacing in volumes.values()
        ]
        self.by_size = froc_by_size(self.curve, np.concatenate(sizes), self.size_edges_mm)
        return self.curve.average_precision

    def _truth(self, name: str, marks: Sequence[Mapping[str, Any]]) -> list[Any]:
        """What a metric keeps of the lesions marked in a volume."""
        return [(int(mark["slice"]), _box(mark["box"])) for mark in marks]

    def _curve(self, truth: Mapping[str, list[Any]], found: Mapping[str, list[Tracklet]]) -> FrocCurve:
        return evaluate_p3d(truth, found, self.iou_threshold, self.protocol)

    def _plane(self, mark: Any) -> Box2D:
        """Box in the slice of a lesion as kept by `_truth`."""
        return cast("Box2D", mark[1])

    def completed(self, engine: Engine, name: str) -> None:
        """Write the results to ``engine.state.metrics``."""
        super().completed(engine, name)
        assert self.curve is not None  # set by compute()
        engine.state.metrics[f"{self.prefix}average_sensitivity"] = self.curve.average_sensitivity
        for fps, sensitivity in zip(FROC_FPS, self.curve.sensitivity_at(FROC_FPS).tolist()):
            engine.state.metrics[f"{self.prefix}sensitivity_at_{fps:g}"] = sensitivity


def _box(values: Any) -> Box2D:
    x1, y1, x2, y2 = (float(v) for v in values)
    return x1, y1, x2, y2
