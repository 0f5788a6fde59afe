"""The validation metric of 2D images (or 3D patches) with classified objects: mAP at IoU 0.1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from torch import Tensor

from lesion_app.metrics.object_map import ObjectMap, object_map
from lesion_app.metrics.whole_epoch import whole_epoch

_Case = tuple[dict[str, Tensor], dict[str, Tensor]]


class ObjectMetric(Metric):
    """`object_map` over the images of an epoch.

    ``update`` takes ``(pred, target)``: one ``{boxes, scores, labels}`` an image, and one ``{id, boxes, labels}`` in
    the same pixels; other entries are not looked at. In a distributed run every process gets the result over all
    images. At the end of the epoch ``engine.state.metrics`` holds the AP of each class beside the mean, under
    ``<prefix>ap_class_<label>``; ``result`` holds everything, ``cases`` what was compared, by id, once there is a
    result.

    Args:
        output_transform: from ``engine.state.output`` to ``(pred, target)``.
        prefix: of the names.
        iou_threshold, min_score, classes: see `object_map`.
        device: Ignite's; the metric itself works on the CPU.

    Raises:
        ValueError: from ``update`` when the two sides differ in length or an image comes twice in an epoch; from
            ``compute`` when two processes saw the same image.
        ignite.exceptions.NotComputableError: from ``compute`` without any image.
    """

    def __init__(
        self,
        output_transform: Callable = lambda output: output,
        prefix: str = "",
        iou_threshold: float = 0.1,
        min_score: float = 0.1,
        classes: Sequence[int] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.prefix = prefix
        self.iou_threshold = iou_threshold
        self.min_score = min_score
        self.classes = classes
        self.result: ObjectMap | None = None
        self.cases: dict[str, _Case] = {}
        self._own: dict[str, _Case] = {}  # of this process
        # A batch is lists of dicts, which Ignite would otherwise take apart.
        super().__init__(output_transform, device=device, skip_unrolling=True)

    @property
    def groups(self) -> list[str]:
        """Whose each of the ``cases`` is, for a bootstrap: every image stands for itself."""
        return list(self.cases)

    def reset(self) -> None:
        """Forget the images of the epoch; ``result`` stays until the next one."""
        self.cases, self._own = {}, {}

    def update(self, output: tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]) -> None:
        """Take in the images of a batch."""
        pred, target = output
        if len(pred) != len(target):
            raise ValueError(f"predictions for {len(pred)} images came with {len(target)} targets")
        for found, true in zip(pred, target):
            name = str(true["id"])
            if name in self._own:
                raise ValueError(f"image {name!r} was evaluated twice in one epoch; ids must be unique")
            self._own[name] = (
                {key: found[key].detach().cpu() for key in ("boxes", "scores", "labels")},
                {key: torch.as_tensor(true[key]).cpu() for key in ("boxes", "labels")},
            )

    def compute(self) -> float:
        """Mean AP over the images of all processes."""
        self.cases = whole_epoch(self._own, type(self).__name__, "image")
        self.result = object_map(
            [true for _, true in self.cases.values()],
            [found for found, _ in self.cases.values()],
            iou_threshold=self.iou_threshold,
            min_score=self.min_score,
            classes=self.classes,
        )
        return self.result.mean

    def completed(self, engine: Engine, name: str) -> None:
        """Write the results to ``engine.state.metrics``."""
        super().completed(engine, name)
        assert self.result is not None  # set by compute()
        for label, value in self.result.by_class.items():
            engine.state.metrics[f"{self.prefix}ap_class_{label}"] = value
