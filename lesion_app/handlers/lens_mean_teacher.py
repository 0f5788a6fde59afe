"""The online mean teacher for LENS: each data set is completed by the teacher's expert of that data set.

Ours: neither Bai & Xia (one data set, online) nor LENS (many, offline) has it. See ``docs/lens.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor

from lesion_app.handlers.mean_teacher import MeanTeacher
from lesion_app.mining.selection import Detections
from lesion_app.networks.lens import LENS


class LensMeanTeacher(MeanTeacher):
    """:class:`~lesion_app.handlers.mean_teacher.MeanTeacher` with a LENS as teacher.

    On an image of a partly labelled data set, confident detections (tau) of that set's own expert are mined. Detections
    of any expert from ``ignore_threshold`` on that were not mined are left out of the losses: LENS's cross-dataset
    mining (section V-C, sigma = 0.5), done anew each iteration. Images of other data sets, where what is to be found
    is labelled completely, are taught as they are.

    Items carry ``dataset`` as of :func:`lesion_app.data.one_dataset_batches.joined_slice_items`.

    Args:
        student, teacher: LENS networks of one structure.
        partly_labelled: names of the data sets that lack labels.
        **rest: of ``MeanTeacher``.

    Raises:
        ValueError: for a data set the network does not have, and as ``MeanTeacher``.
    """

    def __init__(self, student: LENS, teacher: LENS, partly_labelled: Sequence[str], **rest: Any) -> None:
        super().__init__(student, teacher, **rest)
        unknown = sorted(set(partly_labelled) - set(teacher.datasets))
        if unknown:
            raise ValueError(
                f"partly_labelled names {', '.join(unknown)}; the network's data sets are {', '.join(teacher.datasets)}"
            )
        self._lens = teacher
        self._partly = [teacher.datasets.index(name) for name in partly_labelled]

    def _mine(self, engine: Engine) -> None:
        items: Any = engine.state.batch
        if any(int(item["dataset"]) in self._partly for item in items):
            super()._mine(engine)
            return
        # Nothing lacks here: the teacher need not look, and figures of mining must not count these images.
        state: Any = engine.state
        state.mining, state.teacher_scores = {}, None

    def predict_teacher(self, slabs: Sequence[Tensor], device: str | torch.device) -> list[Detections]:
        """Every expert's detections, labelled with its number from 1."""
        reported = self._lens.fuse, self._lens.expert
        self._lens.fuse, self._lens.expert = False, None
        try:
            return super().predict_teacher(slabs, device)
        finally:
            self._lens.fuse, self._lens.expert = reported

    def select(
        self,
        item: dict[str, Any],
        prediction: Detections,
        threshold: float | None = None,
        besides: Tensor | None = None,
    ) -> Detections:
        """Detections that are no label: of the item's own expert at tau, of all at another ``threshold``."""
        own = int(item["dataset"])
        asked = torch.zeros_like(prediction["labels"], dtype=torch.bool)
        if own in self._partly:
            asked = prediction["labels"] == own + 1 if threshold is None else ~asked
        of_asked: Detections = {
            "boxes": prediction["boxes"][asked],
            "scores": prediction["scores"][asked],
            "labels": torch.ones_like(prediction["labels"][asked]),
        }
        return super().select(item, of_asked, threshold, besides)
