"""The weights of a network, written when its training has ended."""

from __future__ import annotations

from pathlib import Path

from ignite.engine import Engine, Events
from torch import nn

from lesion_app.networks.checkpoint import save_atomically


class SavedWeights:
    """Writes a bare state dict on the CPU when a trainer completes; a run that breaks leaves what was there.

    Args:
        network: whose weights.
        path: of the file; its folder is made.
    """

    def __init__(self, network: nn.Module, path: str | Path) -> None:
        self.network = network
        self.path = Path(path)

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.COMPLETED, self._save)

    def _save(self, engine: Engine) -> None:
        save_atomically({name: value.cpu() for name, value in self.network.state_dict().items()}, self.path)
