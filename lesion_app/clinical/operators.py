"""The steps of a study's report as MONAI Deploy operators.

Imported only where the MONAI Deploy App SDK is installed. Each operator is one function of
:mod:`lesion_app.clinical.report_study`; the SDK's own series selector and volume operator are not used, since the
latter swaps anisotropic pixel spacings, wraps negative HU and passes over missing slices.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from monai.deploy.core import ExecutionContext, Fragment, InputContext, Operator, OperatorSpec, OutputContext

from lesion_app.clinical.report_study import ReportSettings, add_findings, find_lesions, select_series

Failure = Callable[[Exception], None]


class ReportOperator(Operator):
    """An operator whose error ends the application in order.

    The scheduler would print a C++ log and a traceback for an exception. Instead it is handed to ``failed``, nothing is
    emitted, and the application raises it when the scheduler has stopped.

    Args:
        failed: takes the exception that ended the step, and stops the application.
    """

    def __init__(self, fragment: Fragment, *args: Any, failed: Failure, **options: Any) -> None:
        self._failed = failed
        super().__init__(fragment, *args, **options)  # last: it calls setup()

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        """Called by the scheduler, once."""
        try:
            self.step(op_input, op_output)
        except Exception as error:
            self._failed(error)

    def step(self, op_input: InputContext, op_output: OutputContext) -> None:
        """What the operator does; an InputError refuses the study."""
        raise NotImplementedError


class SeriesSelectionOperator(ReportOperator):
    """Chooses and checks the CT series to look at.

    Output ``series``: a :class:`lesion_app.clinical.series.SeriesChoice`.

    Args:
        study: folder with the study's DICOM files.
        out: the results folder; refused early when it holds those of another series.
    """

    def __init__(self, fragment: Fragment, *args: Any, study: Path, out: Path, **options: Any) -> None:
        self._study, self._out = study, out
        super().__init__(fragment, *args, **options)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.output("series")

    def step(self, op_input: InputContext, op_output: OutputContext) -> None:
        """Emit the choice."""
        op_output.emit(select_series(self._study, self._out), "series")


class LesionDetectionOperator(ReportOperator):
    """Runs the bundle's own inference config on the series; writes lesions.json and lesions.png.

    Input ``series``; outputs ``series``, passed on, and ``lesions``: what lesions.json holds.

    Args:
        stage: folder to write to.
        settings: of the report.
    """

    def __init__(self, fragment: Fragment, *args: Any, stage: Path, settings: ReportSettings, **options: Any) -> None:
        self._stage, self._settings = stage, settings
        super().__init__(fragment, *args, **options)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("series")
        spec.output("found")

    def step(self, op_input: InputContext, op_output: OutputContext) -> None:
        """Emit the series with its lesions."""
        choice = op_input.receive("series")
        op_output.emit((choice, find_lesions(choice, self._stage, self._settings)), "found")


class FindingsWriterOperator(ReportOperator):
    """Writes the DICOM objects and the manifest that completes the results.

    Input ``found``: the series and what lesions.json holds.

    Args:
        stage: folder to write to.
        settings: of the report.
        done: takes the series and the document when everything is written, and stops the application.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        stage: Path,
        settings: ReportSettings,
        done: Callable[[Any, dict[str, Any]], None],
        **options: Any,
    ) -> None:
        self._stage, self._settings, self._done = stage, settings, done
        super().__init__(fragment, *args, **options)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("found")

    def step(self, op_input: InputContext, op_output: OutputContext) -> None:
        """Write, and tell the application."""
        choice, document = op_input.receive("found")
        add_findings(choice, document, self._stage, self._settings)
        self._done(choice, document)
