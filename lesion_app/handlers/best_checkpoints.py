"""Keeps the weights of the best few validations on disk, for an ensemble."""

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


class BestCheckpoints:
    """Writes ``network``'s bare state dict when a validation is among the best ``keep`` so far, and drops the worst.

    Jaeger et al., "Retina U-Net", 2019, section 4.3: "the 5 highest scoring epochs according to validation metrics".
    Attached to an evaluator. Of equal values the earlier epoch stays. Its own state, saved and restored with the
    training's, is what tells which files are its own; files of epochs that a resumed run does not know are removed.

    Args:
        network: what to save.
        folder: receives ``epoch-0007.pt`` ...; nothing else may lie there.
        metric: name in ``engine.state.metrics``, higher is better.
        keep: number of checkpoints.

    Raises:
        ValueError: ``keep`` below 1.
    """

    def __init__(self, network: nn.Module, folder: str | Path, metric: str, keep: int = 5) -> None:
        if keep < 1:
            raise ValueError(f"at least one checkpoint must be kept, got keep = {keep}")
        self.network = network
        self.folder = Path(folder)
        self.metric = metric
        self.keep = keep
        self.kept: dict[int, float] = {}
        self._validations = 0

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self._keep)

    def state_dict(self) -> dict[str, Any]:
        """Validations so far, and the values kept by their number."""
        return {"validations": self._validations, "kept": dict(self.kept)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of an earlier run."""
        self._validations = int(state["validations"])
        self.kept = {int(number): float(value) for number, value in state["kept"].items()}

    def paths(self) -> list[Path]:
        """The files kept, the best first."""
        return [self._path(number) for number in sorted(self.kept, key=lambda n: (-self.kept[n], n))]

    def _keep(self, engine: Engine) -> None:
        self._validations += 1
        value = float(engine.state.metrics[self.metric])
        if math.isnan(value):  # a run that found nothing at all still leaves weights
            value = -math.inf
        ranked = sorted({**self.kept, self._validations: value}.items(), key=lambda entry: (-entry[1], entry[0]))
        self.kept = dict(ranked[: self.keep])
        if idist.get_rank() > 0:
            return
        if self._validations in self.kept:
            content = {k: v.detach().cpu() for k, v in self.network.state_dict().items()}
            save_atomically(content, self._path(self._validations))
            logger.info("%s %.4f is among the best %d", self.metric, value, self.keep)
        for path in self.folder.glob("epoch-*.pt"):
            if path not in self.paths():
                path.unlink()

    def _path(self, number: int) -> Path:
        return self.folder / f"epoch-{number:04d}.pt"
