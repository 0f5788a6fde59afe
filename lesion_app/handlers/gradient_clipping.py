"""Bounds the step a single bad batch can take."""

from __future__ import annotations

import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from torch import nn


class GradientClipping:
    """Scale gradients to a total L2 norm of at most ``max_norm`` before the optimiser's step.

    Ours; the paper states none. 35 is mmdetection's (and AlignShift's) usual value. The norm before clipping
    is left in ``engine.state.metrics["gradient_norm"]``.
    """

    def __init__(self, network: nn.Module, max_norm: float = 35.0) -> None:
        self.network = network
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._clip)

    def _clip(self, engine: Engine) -> None:
        scaler = getattr(engine, "scaler", None)
        if scaler is not None:
            scaler.unscale_(engine.optimizer)  # type: ignore[attr-defined]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)
        engine.state.metrics["gradient_norm"] = float(norm)
