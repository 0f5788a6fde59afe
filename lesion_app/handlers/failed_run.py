"""Ends the MLflow run of an engine that broke."""

from __future__ import annotations

import os
from pathlib import Path

from ignite.engine import Engine, Events


class FailedRun:
    """Marks the run that MONAI's ``--tracking mlflow`` opened FAILED when the engine breaks.

    MONAI's handler would leave it RUNNING for ever. Without a run of that name, or without mlflow, nothing happens.
    Stands first in the list of handlers. Training and evaluation have ``MlflowRun``, which does the same and more.

    Args:
        tracking_uri, experiment_name, run_name: as given to the tracking handler; the name must be unique.
    """

    def __init__(self, tracking_uri: str, experiment_name: str, run_name: str) -> None:
        self.tracking_uri = tracking_uri
        self.experiment_name = experiment_name
        self.run_name = run_name

    def attach(self, engine: Engine) -> None:
        """Register with an engine."""
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _fail(self, engine: Engine, error: BaseException) -> None:
        self._end_runs()
        raise error

    def _end_runs(self) -> None:
        uri = os.environ.get("MLFLOW_TRACKING_URI") or self.tracking_uri
        if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
            return  # looking for a run would make the database
        try:
            import mlflow

            client = mlflow.MlflowClient(tracking_uri=uri)
            experiment = client.get_experiment_by_name(self.experiment_name)
            for run in client.search_runs([experiment.experiment_id]) if experiment else []:
                if run.info.run_name == self.run_name and run.info.status == "RUNNING":
                    client.set_terminated(run.info.run_id, "FAILED")
        except Exception:  # a tracking server out of reach must not hide the error that matters
            return
