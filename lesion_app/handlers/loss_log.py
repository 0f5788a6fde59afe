"""The loss of a training whose network gives one, on the log."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from ignite.engine import Engine, Events

from lesion_app.errors import InputError

logger = logging.getLogger("lesion_app.training")


class LossLog:
    """Logs a trainer's loss every so many iterations, and its mean at the end of an epoch.

    For trainers whose output holds one ``loss``; detectors with several have `IterationFigures`.

    Args:
        print_every: iterations between two lines.

    Raises:
        InputError: (while training) when the loss is not finite, naming the iteration.
    """

    def __init__(self, print_every: int = 10) -> None:
        self.print_every = print_every
        self._sum, self._count = 0.0, 0

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end)

    def _start(self, engine: Engine) -> None:
        self._sum, self._count = 0.0, 0

    def _add(self, engine: Engine) -> None:
        output: Any = engine.state.output
        loss = float(torch.as_tensor(output["loss"]).detach())
        if not math.isfinite(loss):
            raise InputError(
                f"training diverged: the loss is not finite at iteration {engine.state.iteration}; lower the learning "
                "rate and train anew"
            )
        self._sum += loss
        self._count += 1
        if engine.state.iteration % self.print_every == 0:
            total = int(engine.state.max_epochs or 0) * int(engine.state.epoch_length or 0)
            logger.info("iteration %d/%d loss %.4f", engine.state.iteration, total, loss)

    def _end(self, engine: Engine) -> None:
        logger.info("epoch %d/%d mean loss %.4f", engine.state.epoch, engine.state.max_epochs, self._sum / self._count)
