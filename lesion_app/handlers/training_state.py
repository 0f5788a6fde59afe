"""Everything a training needs to go on bit for bit after it was killed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
from ignite.engine import Engine, Events
from torch import nn

from lesion_app.errors import InputError
from lesion_app.handlers.random_state import capture_random_state, restore_random_state
from lesion_app.networks.checkpoint import load_state, read_checkpoint, save_atomically

logger = logging.getLogger("lesion_app.training")


class Stateful(Protocol):
    """Anything with torch's pair of state methods (networks, optimisers, schedulers, best-model savers)."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


class Resumable(Protocol):
    """A sampler that can start in the middle of its endless sequence."""

    start: int


class TrainingState:
    """Saves the whole state of a run at the end of epochs, and takes it up again.

    Saved: ``objects`` (student, teacher, optimiser, scheduler, best-model savers), iteration and epoch, the
    random generators, and with ``amp`` the scale of the gradients. The file is replaced atomically. On CPU a
    resumed run equals the uninterrupted one bit for bit, since every draw of the data depends on its running
    number only.

    With several processes every one loads the file and the first one writes it, with everybody's generators.

    Must be the *first* handler of the list for resuming (it restores the generators before anything draws) and
    attaches its saving by itself *after* all others of the same event, so that a validation comes before.

    Args:
        path: checkpoint file.
        objects: by name.
        sampler: its ``start`` is set to the draws that were used up.
        batch_size: draws an iteration uses up, over all processes.
        resume: go on from ``path`` when it exists (a run that had reached its last epoch stays as it is); with
            False an existing file is overwritten.
        every: epochs between two saves.

    Raises:
        InputError: (on attach) an unreadable checkpoint, one of another network or of another number of processes.
    """

    def __init__(
        self,
        path: str | Path,
        objects: Mapping[str, Stateful],
        sampler: Resumable,
        batch_size: int,
        resume: bool = False,
        every: int = 1,
    ) -> None:
        self.path = Path(path)
        self.objects = dict(objects)
        self.sampler = sampler
        self.batch_size = batch_size
        self.resume = resume
        self.every = every
        self._resumed: dict[str, Any] | None = None
        self._generators: dict[str, Any] | None = None

    def attach(self, engine: Engine) -> None:
        """Register with a trainer; loads the checkpoint at once when resuming."""
        if self.resume and self.path.is_file():
            self._load(engine)
        engine.add_event_handler(Events.STARTED, self._start)
        # A data loader draws its seed when it starts; the generators are put back after that.
        engine.add_event_handler(Events.ITERATION_STARTED, self._restore_generators)

    def _start(self, engine: Engine) -> None:
        if self._resumed is not None:
            # Ignite has begun anew when the run was complete already; so told, it ends at once instead.
            engine.state.iteration, engine.state.epoch = self._resumed["iteration"], self._resumed["epoch"]
            # MONAI makes the scaler when the run starts.
            scaler = getattr(engine, "scaler", None)
            if scaler is not None and self._resumed["scaler"]:
                scaler.load_state_dict(self._resumed["scaler"])
            self._resumed = None
        if not engine.has_event_handler(self._save, Events.EPOCH_COMPLETED):
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.every), self._save)

    def _save(self, engine: Engine) -> None:
        generators = idist.all_gather(capture_random_state())
        if idist.get_rank() > 0:
            return
        scaler = getattr(engine, "scaler", None)
        content = {
            "iteration": int(engine.state.iteration),
            "epoch": int(engine.state.epoch),
            "epoch_length": int(engine.state.epoch_length or 0),
            "random": generators,
            "scaler": None if scaler is None else scaler.state_dict(),
            "objects": {name: value.state_dict() for name, value in self.objects.items()},
        }
        save_atomically(content, self.path)

    def _load(self, engine: Engine) -> None:
        content = read_checkpoint(self.path)
        wanted, found = set(self.objects), set(content.get("objects", {}))
        if wanted != found:
            raise InputError(
                f"{self.path} is not a state of this training: it holds {sorted(found)}, expected {sorted(wanted)}; "
                "resume with the config it was started with, or start anew with --resume False"
            )
        if content["epoch_length"] != int(engine.state.epoch_length or 0):
            raise InputError(
                f"{self.path} was saved with epoch_length {content['epoch_length']}, this run has "
                f"{engine.state.epoch_length}; resume with the same epoch_length or start anew with --resume False"
            )
        for name, value in self.objects.items():
            state = content["objects"][name]
            if isinstance(value, nn.Module):
                load_state(value, state, f"{self.path} ({name})")
            else:
                value.load_state_dict(state)
        engine.state.iteration = content["iteration"]
        engine.state.epoch = content["epoch"]
        self.sampler.start = content["iteration"] * self.batch_size
        generators = content["random"]
        if len(generators) != idist.get_world_size():
            raise InputError(
                f"{self.path} was saved by {len(generators)} processes, this run has {idist.get_world_size()}; resume "
                "with as many processes or start anew with --resume False"
            )
        self._generators = generators[idist.get_rank()]
        self._resumed = {key: content.get(key) for key in ("iteration", "epoch", "scaler")}
        logger.info("resumed %s at iteration %d", self.path, content["iteration"])
        if engine.state.max_epochs is not None and content["epoch"] >= engine.state.max_epochs:
            logger.info("all %d epochs are done; raise epochs to train on", engine.state.max_epochs)

    def _restore_generators(self, engine: Engine) -> None:
        if self._generators is not None:
            restore_random_state(self._generators)
            self._generators = None
