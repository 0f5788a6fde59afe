"""Keeps the weights of the best validation on disk."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from torch import nn

from lesion_app.networks.checkpoint import save_atomically

logger = logging.getLogger("lesion_app.training")


class BestModel:
    """Writes ``network``'s bare state dict when the validation reaches a new best.

    Attached to an evaluator. Unlike MONAI's ``CheckpointSaver`` it has a state of its own, so that the first
    validation after a resume cannot overwrite a better model. With several processes the first one writes.

    Args:
        network: what to save (the teacher, for ``models/model.pt``).
        path: file, replaced atomically; loads with ``weights_only=True``.
        metric: name in ``engine.state.metrics``, higher is better.
    """

    def __init__(self, network: nn.Module, path: str | Path, metric: str) -> None:
        self.network = network
        self.path = Path(path)
        self.metric = metric
        self.best = -math.inf

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self._keep)

    def state_dict(self) -> dict[str, Any]:
        """The best value so far."""
        return {"best": float(self.best)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the best value of an earlier run."""
        self.best = float(state["best"])

    def _keep(self, engine: Engine) -> None:
        value = float(engine.state.metrics[self.metric])
        if not value > self.best:  # not a number is never best
            return
        self.best = value
        if idist.get_rank() == 0:
            save_atomically({k: v.detach().cpu() for k, v in self.network.state_dict().items()}, self.path)
            logger.info("new best %s %.4f, weights in %s", self.metric, value, self.path)
