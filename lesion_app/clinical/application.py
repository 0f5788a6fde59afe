"""The MONAI Deploy application: a study's folder in, published findings out.

Imported only where the MONAI Deploy App SDK is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holoscan.schedulers import EventBasedScheduler, GreedyScheduler, MultiThreadScheduler
from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application

from lesion_app.clinical.operators import FindingsWriterOperator, LesionDetectionOperator, SeriesSelectionOperator
from lesion_app.clinical.publishing import staged_results
from lesion_app.clinical.report_study import ReportSettings, StudyReport, check_places, published_report

# By default the moment between two operators passes for a deadlock on a busy machine, and the multi-threaded scheduler
# ends the run half-way. The end is told by stop_execution(); what it does not reach stops after this time.
_DEADLOCK_MS = 3000
SCHEDULERS = {"greedy": GreedyScheduler, "multi_thread": MultiThreadScheduler, "event_based": EventBasedScheduler}


class LesionApplication(Application):
    """Series selection, detection, findings, in this order; published when the last one has ended.

    Args:
        study: folder with the study's DICOM files; only read.
        out: results folder, see :func:`lesion_app.clinical.report_study.report_study`.
        settings: of the report.
        scheduler: ``greedy``, ``multi_thread`` or ``event_based``.
    """

    def __init__(self, study: Path, out: Path, settings: ReportSettings, scheduler: str = "greedy") -> None:
        self._study, self._out = check_places(study, out)
        settings.check()
        self._settings, self._kind = settings, scheduler
        self._stage = Path()
        self._error: Exception | None = None
        self._result: tuple[Any, dict[str, Any]] | None = None
        super().__init__(["lesion_app.clinical"])  # without it Holoscan reads this program's own arguments

    def compose(self) -> None:
        """Lay out the graph; called by the SDK within :meth:`run`."""
        once = CountCondition(self, 1)
        select = SeriesSelectionOperator(
            self, once, study=self._study, out=self._out, failed=self._fail, name="select_series"
        )
        common: dict[str, Any] = {"stage": self._stage, "settings": self._settings, "failed": self._fail}
        detect = LesionDetectionOperator(self, name="detect_lesions", **common)
        write = FindingsWriterOperator(self, name="write_findings", done=self._finish, **common)
        self.add_flow(select, detect, {("series", "series")})
        self.add_flow(detect, write, {("found", "found")})

    def run(self) -> None:
        """Run the graph and publish its results; see :attr:`report`.

        Raises:
            InputError: the study, model or output folder was refused; nothing is published.
            Exception: whatever broke a step; nothing is published.
        """
        with staged_results(self._out) as self._stage:
            options = {"stop_on_deadlock_timeout": _DEADLOCK_MS, "name": self._kind}
            self.scheduler(SCHEDULERS[self._kind](self, **options))
            super().run()
            if self._error is not None:
                raise self._error
            if self._result is None:
                raise RuntimeError("the application ended before its last operator did")

    @property
    def report(self) -> StudyReport:
        """What :meth:`run` published."""
        if self._result is None:
            raise RuntimeError("the application has not run")
        return published_report(*self._result, self._out)

    def _fail(self, error: Exception) -> None:
        self._error = error
        self.stop_execution()

    def _finish(self, choice: Any, document: dict[str, Any]) -> None:
        self._result = choice, document
        self.stop_execution()
