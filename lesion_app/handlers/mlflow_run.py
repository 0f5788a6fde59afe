"""MLflow run of a training: never shared with another process, never left RUNNING after a crash."""

from __future__ import annotations

import atexit
import os
import time
import uuid
from typing import Any, ClassVar

from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler


def unique_run_name(prefix: str = "run") -> str:
    """``<prefix>_<date>_<time>_<8 hex digits>``: two runs never share a name, so MLflow never merges them."""
    return f"{prefix}_{time.strftime('%Y%m%d_%H%M%S')}_{uuid.uuid4().hex[:8]}"


class MlflowRun(MLFlowHandler):
    """MONAI's ``MLFlowHandler`` with the life cycle of a run put right.

    * A process opens its own run for a (tracking URI, experiment, run name) and shares it among its handlers;
      it never continues one that another process left behind. MONAI's picks any unfinished run up, so that a
      crashed run swallows the next one.
    * An exception marks the run FAILED before it travels on; Ctrl-C, and an interpreter that exits while the run is
      open, mark it KILLED.
    * Hyper-parameters are logged as parameters once a run.
    * The figures of an epoch are logged after all other handlers, so that those of its validation are among them.

    Stands first in the list of handlers: MONAI's ``StatsHandler`` re-raises and ends the chain. MONAI's own handlers
    (``--tracking mlflow``) find the open run by its name and write into it as well.

    Args:
        **options: those of ``MLFlowHandler``.
    """

    _open: ClassVar[dict[tuple[str, str, str], str]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if not self.run_name:
            self.run_name = unique_run_name()

    def attach(self, engine: Engine) -> None:
        """Register with an engine."""
        epoch_log, self.epoch_log = self.epoch_log, False  # registered in start() instead
        super().attach(engine)
        self.epoch_log = epoch_log
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def start(self, engine: Engine) -> None:
        """Open the run, or join the one this process has open under the same name."""
        self._log_epochs_last(engine)
        if self.cur_run is None:
            self._set_experiment()
            key = (
                os.environ.get("MLFLOW_TRACKING_URI") or str(self.client.tracking_uri),
                self.experiment_name,
                str(self.run_name),
            )
            if key not in self._open:
                run = self.client.create_run(self.experiment.experiment_id, run_name=self.run_name)  # type: ignore[attr-defined]
                self._open[key] = run.info.run_id
                atexit.register(self._end_early, key)
            self.cur_run = self.client.get_run(self._open[key])
            self._key = key
        parameters = dict(self.experiment_param or {})
        parameters.update({name: getattr(engine.state, name, None) for name in self.default_tracking_params})
        self._delete_exist_param_in_dict(parameters)
        self._log_params(parameters)

    def _log_epochs_last(self, engine: Engine) -> None:
        # By now every other handler is registered: the figures of a validation are there before they are logged.
        if self.epoch_log and not engine.has_event_handler(self.epoch_completed, Events.EPOCH_COMPLETED):
            event = Events.EPOCH_COMPLETED
            engine.add_event_handler(event(self.epoch_log) if callable(self.epoch_log) else event, self.epoch_completed)

    def close(self) -> None:
        """End the run as FINISHED."""
        self._open.pop(getattr(self, "_key", ("", "", "")), None)
        super().close()

    def _fail(self, engine: Engine, error: BaseException) -> None:
        self._end("KILLED" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "FAILED")
        raise error

    def _end_early(self, key: tuple[str, str, str]) -> None:
        if key in self._open:
            self._end("KILLED")

    def _end(self, status: str) -> None:
        run_id = self._open.pop(getattr(self, "_key", ("", "", "")), None)
        if run_id is not None:
            self.client.set_terminated(run_id, status)
        self.cur_run = None
