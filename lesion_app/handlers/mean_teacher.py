"""The heart: in every iteration the teacher finds missing lesions and the student learns from them.

End-to-end mining after Bai & Xia, "An End-to-End Framework For Universal Lesion Detection With Missing
Annotations", section II. Four verbs, in this order, each iteration of a plain ``SupervisedTrainer``:

    predict_teacher -> select_mined -> merge_with_ground_truth -> (student's step) -> update_teacher

The first three run on ``ITERATION_STARTED``, the last on ``MODEL_COMPLETED`` (after the optimiser's step).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import Tensor, nn

from lesion_app.boxes.overlap import lie_in
from lesion_app.data.batches import item_target
from lesion_app.metrics.mining import mined_precision_recall
from lesion_app.mining.averaging import BufferRule, update_teacher, warmed_up_decay
from lesion_app.mining.calibrated_threshold import CalibratedThreshold
from lesion_app.mining.checks import MiningCheck
from lesion_app.mining.merging import POLICIES, Policy, merge_with_ground_truth
from lesion_app.mining.selection import Detections, score_histogram, select_mined
from lesion_app.mining.threshold_calibration import ThresholdCalibration


class MeanTeacher:
    """Mines with the teacher, teaches the student, averages the student into the teacher.

    Batches are lists of items with ``image`` (the teacher's view ``[S, H, W]``), ``boxes``, ``labels``,
    ``ignore`` (in that view) and, where all lesions are known, ``truth_boxes``. The merged target is left in
    ``item["target"]``, in the teacher's view; :func:`lesion_app.data.batches.student_target` maps it on.
    What happened is left in ``engine.state.mining`` (a dict of floats) and
    ``engine.state.teacher_scores`` (histogram, ``[10]`` counts over [0, 1]).

    Args:
        student, teacher: networks of one structure; the teacher is never trained.
        score_threshold: tau, or one that is calibrated (by size, if wanted).
        gt_nms_iou: a detection that overlaps a label by more is that label.
        ema_decay: momentum of the average.
        policy: ``add`` or ``ignore``.
        mine: False keeps the teacher's average but mines nothing (the baseline with labels only).
        start_iteration: first iteration (1-based) that mines; earlier ones only average. Ours: 1 as in the paper.
        ema_warmup: ramp the decay up from 0.1 at the start (ours; see :func:`warmed_up_decay`).
        buffers: what becomes of BatchNorm's statistics (see :func:`lesion_app.mining.averaging.update_teacher`).
        ignore_threshold: detections from this score on that are not mined become ignore regions, so that the student
            is not taught that they are background; None = the paper, which has no such band.
        checks: further checks of the mined boxes, in this order.
        calibration: sets ``score_threshold`` anew every so often.
        amp: the teacher looks in bfloat16 (autocast), as the student does under the trainer's ``amp``.
        prepare: makes a faster copy of the teacher to look with, anew after every change of its weights
            (:func:`lesion_app.networks.inference_detector.inference_detector`); None = the teacher itself looks.

    Raises:
        ValueError: for values out of range.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        score_threshold: float | CalibratedThreshold = 0.9,
        gt_nms_iou: float = 0.7,
        ema_decay: float = 0.999,
        policy: Policy = "add",
        mine: bool = True,
        start_iteration: int = 1,
        ema_warmup: bool = True,
        buffers: BufferRule = "average",
        ignore_threshold: float | None = None,
        checks: Sequence[MiningCheck] = (),
        calibration: ThresholdCalibration | None = None,
        amp: bool = False,
        prepare: Callable[[nn.Module], nn.Module] | None = None,
    ) -> None:
        in_unit = {"gt_nms_iou": gt_nms_iou, "ema_decay": ema_decay, "ignore_threshold": ignore_threshold}
        if not callable(score_threshold):
            in_unit["score_threshold"] = score_threshold
        for name, value in in_unit.items():
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {value}")
        if policy not in POLICIES:
            raise ValueError(f"policy must be one of {POLICIES}, got {policy!r}")
        self.student = student
        self.teacher = teacher.requires_grad_(False)
        self.score_threshold = score_threshold
        self.gt_nms_iou = gt_nms_iou
        self.ema_decay = ema_decay
        self.policy = policy
        self.mine = mine
        self.start_iteration = start_iteration
        self.ema_warmup = ema_warmup
        self.buffers = buffers
        self.ignore_threshold = ignore_threshold
        self.checks = tuple(checks)
        self.calibration = calibration
        self.amp = amp
        self.prepare = prepare
        self._prepared: tuple[tuple[int, ...], nn.Module] | None = None

    def attach(self, engine: Engine) -> None:
        """Register with a trainer; a fresh run starts with the teacher equal to the student."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_STARTED, self._mine)
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self._average)

    def _start(self, engine: Engine) -> None:
        if engine.state.iteration == 0:  # a resumed run keeps the teacher it loaded
            self.teacher.load_state_dict(self.student.state_dict())

    def _mine(self, engine: Engine) -> None:
        state: Any = engine.state
        items: Sequence[dict[str, Any]] = state.batch
        if not self.mine or state.iteration < self.start_iteration:
            state.mining = {}
            state.teacher_scores = None
            return
        if self.calibration is not None:
            self.calibration.update(
                state.iteration - self.start_iteration, lambda slabs: self.predict_teacher(slabs, state.device)
            )
        predictions = self.predict_teacher([item["image"] for item in items], state.device)
        mined = [self.select(item, prediction) for item, prediction in zip(items, predictions)]
        for check in self.checks:
            mined = check.confirm(items, mined, lambda slabs: self.predict_teacher(slabs, state.device))
        for item, prediction, found in zip(items, predictions, mined):
            target = merge_with_ground_truth(item_target(item), found, self.policy)
            if self.ignore_threshold is not None:
                doubtful = self.select(item, prediction, self.ignore_threshold, besides=found["boxes"])
                target = merge_with_ground_truth(target, doubtful, "ignore")
            item["target"], item["mined"] = target, found
        state.mining = mining_figures(items, mined)
        if isinstance(self.score_threshold, CalibratedThreshold):
            state.mining.update(self.score_threshold.figures())
        state.teacher_scores = score_histogram(torch.cat([p["scores"] for p in predictions]))

    def select(
        self,
        item: dict[str, Any],
        prediction: Detections,
        threshold: float | None = None,
        besides: Tensor | None = None,
    ) -> Detections:
        """Detections from ``threshold`` (else tau) on that are no label of the item and none of ``besides``."""
        known = item["boxes"] if besides is None else torch.cat((item["boxes"], besides.to(item["boxes"])))
        tau = self.score_threshold if threshold is None else threshold
        excluded = item["ignore"]
        if "negatives" in item:
            excluded = torch.cat((excluded, item["negatives"]))
        return select_mined(
            prediction, known, tau(prediction["boxes"]) if callable(tau) else tau, self.gt_nms_iou, excluded
        )

    def predict_teacher(self, slabs: Sequence[Tensor], device: str | torch.device) -> list[Detections]:
        """The teacher's detections (on the CPU) on slabs ``[S, H, W]``, in their px."""
        network = self._looking()
        kind = torch.device(device).type
        amp = self.amp and network is self.teacher  # a prepared copy has its own precision
        with torch.inference_mode(), torch.autocast(kind, dtype=torch.bfloat16, enabled=amp):
            predictions = network([slab.to(device, non_blocking=True) for slab in slabs])
        # Copies, since tensors of inference mode may not be changed or learnt from.
        names = ("boxes", "scores", "labels")
        return [{k: p[k].cpu().clone() for k in names} for p in predictions]  # type: ignore[misc]

    def _looking(self) -> nn.Module:
        """The network that looks: the teacher, or its prepared copy, made anew when the teacher has changed."""
        self.teacher.eval()
        if self.prepare is None:
            return self.teacher
        state = tuple(tensor._version for tensor in self.teacher.state_dict(keep_vars=True).values())
        if self._prepared is None or self._prepared[0] != state:
            self._prepared = None  # one copy at a time
            self._prepared = state, self.prepare(self.teacher)
        return self._prepared[1]

    def _average(self, engine: Engine) -> None:
        decay = warmed_up_decay(self.ema_decay, engine.state.iteration - 1, self.ema_warmup)
        update_teacher(self.teacher, self.student, decay, self.buffers)


def mining_figures(items: Sequence[dict[str, Any]], mined: Sequence[Detections]) -> dict[str, float]:
    """Figures of one iteration: counts, mined per labelled box and, where truth is known, right ones and hidden ones.

    Keys: ``mined_boxes``, ``ground_truth_boxes``, ``mined_per_ground_truth``; with truth also
    ``mined_right``, ``hidden_lesions``, ``hidden_found`` and their ratios ``mined_precision`` (absent when nothing was
    mined) and ``mined_recall`` (absent when nothing was hidden). A lesion in a region to ignore is not hidden: nothing
    is mined there.
    """
    labelled = [item["boxes"] for item in items]
    count, known = sum(len(m["boxes"]) for m in mined), sum(len(b) for b in labelled)
    figures = {
        "mined_boxes": float(count),
        "ground_truth_boxes": float(known),
        "mined_per_ground_truth": count / max(known, 1),
    }
    if all("truth_boxes" in item for item in items):
        truth = [_outside(item["truth_boxes"], item["ignore"]) for item in items]
        figures.update(mined_precision_recall([m["boxes"] for m in mined], truth, labelled).as_figures())
    return figures


def _outside(truth: Tensor, regions: Tensor) -> Tensor:
    return truth[~lie_in(truth, regions, 0.5)]
