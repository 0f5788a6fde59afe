"""The figures of every validation on disk, across resumes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events

from lesion_app.atomic_file import replacing
from lesion_app.handlers.training_history import read_history


class ValidationHistory:
    """Appends a line to ``<folder>/validation.jsonl`` after each validation: iteration, epoch and the metrics.

    Stands after `ValidationFigures`. On a resume, lines of epochs that will be run again are dropped, so what is
    written is what an uninterrupted run would write. With several processes the first one writes.

    Args:
        folder: output folder.
        prefixes: of the names of the metrics to keep (``"val_"`` ...).
        interval: epochs between two validations.
    """

    def __init__(self, folder: str | Path, prefixes: Sequence[str], interval: int = 1) -> None:
        self.path = Path(folder) / "validation.jsonl"
        self.prefixes = tuple(prefixes)
        self.interval = interval

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.STARTED, self._start)
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self._append)

    def _start(self, engine: Engine) -> None:
        kept = [line for line in read_history(self.path) if line["epoch"] <= engine.state.epoch]
        with replacing(self.path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def _append(self, engine: Engine) -> None:
        found = {k: float(v) for k, v in engine.state.metrics.items() if k.startswith(self.prefixes)}
        place = {"iteration": int(engine.state.iteration), "epoch": int(engine.state.epoch)}
        with self.path.open("a") as file:
            file.write(json.dumps({**place, **found}) + "\n")
