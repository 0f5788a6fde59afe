"""What one training iteration did, as plain numbers for every logger."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any

from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents

from lesion_app.errors import InputError

logger = logging.getLogger("lesion_app.training")

_OF_THE_EPOCH = ("epoch_mined_precision", "epoch_mined_recall", "epoch_mined_per_ground_truth", "epoch_mined_boxes")


class IterationFigures:
    """Replaces the trainer's output by ``[{name: float}]`` and prints a line with the time left.

    MONAI's loggers read ``engine.state.output``; a list with one dict of floats suits them all.
    Running totals of the mined boxes over the epoch go to ``engine.state.metrics`` (``epoch_mined_boxes`` and others).

    Args:
        print_every: iterations between two lines on the log, 1 = every iteration.
        window: iterations over which the speed is averaged.

    Raises:
        InputError: (while training) when a loss is not finite, naming the iteration and the loss.
    """

    def __init__(self, print_every: int = 1, window: int = 50) -> None:
        self.print_every = print_every
        self._times: deque[float] = deque(maxlen=window + 1)
        self._totals: dict[str, float] = {}

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        # Before any logger's ITERATION_COMPLETED, wherever it stands in the list.
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self._collect)

    def _start(self, engine: Engine) -> None:
        self._times.clear()
        self._times.append(time.monotonic())

    def _start_epoch(self, engine: Engine) -> None:
        self._totals.clear()
        for name in _OF_THE_EPOCH:  # an epoch that mines nothing must not show the precision of the one before
            engine.state.metrics.pop(name, None)

    def _collect(self, engine: Engine) -> None:
        output: Any = engine.state.output
        figures = {"loss": float(output["loss"].detach())}
        figures.update({name: float(value.detach()) for name, value in output["pred"].items()})
        broken = [name for name, value in figures.items() if not abs(value) < float("inf")]
        if broken:
            raise InputError(
                f"training diverged: {', '.join(broken)} is not finite at iteration {engine.state.iteration}; lower "
                "learning_rate or gradient_clip, lengthen lr_warmup_iterations, or resume from the last checkpoint"
            )
        mining: dict[str, float] = getattr(engine.state, "mining", None) or {}
        figures.update(mining)
        engine.state.output = [figures]  # type: ignore[assignment]
        self._accumulate(engine, mining)
        self._times.append(time.monotonic())
        if engine.state.iteration % self.print_every == 0:
            logger.info(self._line(engine, figures))

    def _accumulate(self, engine: Engine, mining: dict[str, float]) -> None:
        for name in ("mined_boxes", "ground_truth_boxes", "mined_right", "hidden_lesions", "hidden_found"):
            if name in mining:
                self._totals[name] = self._totals.get(name, 0.0) + mining[name]
        t = self._totals
        for name, over, under in (
            ("epoch_mined_precision", "mined_right", "mined_boxes"),
            ("epoch_mined_recall", "hidden_found", "hidden_lesions"),
            ("epoch_mined_per_ground_truth", "mined_boxes", "ground_truth_boxes"),
        ):
            if over in t and t.get(under):
                engine.state.metrics[name] = t[over] / t[under]
        if "mined_boxes" in t:
            engine.state.metrics["epoch_mined_boxes"] = t["mined_boxes"]

    def _line(self, engine: Engine, figures: dict[str, float]) -> str:
        state = engine.state
        total = int(state.max_epochs or 0) * int(state.epoch_length or 0)
        seconds = (self._times[-1] - self._times[0]) / max(len(self._times) - 1, 1)
        losses = " ".join(f"{k.removeprefix('loss_')} {v:.3f}" for k, v in figures.items() if k.startswith("loss_"))
        text = f"iteration {state.iteration}/{total} loss {figures['loss']:.3f} ({losses})"
        if "mined_boxes" in figures:
            text += f" mined {figures['mined_boxes']:.0f} of {figures['ground_truth_boxes']:.0f} labelled"
            if "hidden_lesions" in figures:
                text += f", right {figures['mined_right']:.0f}, hidden {figures['hidden_lesions']:.0f}"
        left = time.strftime("%H:%M:%S", time.gmtime((total - state.iteration) * seconds))
        return f"{text} | {seconds:.2f} s/iteration, {left} left"
