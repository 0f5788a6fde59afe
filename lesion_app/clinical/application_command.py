"""Command line of the MONAI Deploy application: the SDK's flags and variables, and exit codes that mean something.

0: the findings are published, "no finding" included. 2: the study, model, setting or output folder was refused, told
in one sentence on stderr. 1: the program broke. Nothing is published in the last two cases.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lesion_app.clinical.cuda_runtime import LIBRARY, preload_cuda_runtime
from lesion_app.clinical.report_command import split_forms
from lesion_app.clinical.report_study import DEFAULT_FORMS, ReportSettings
from lesion_app.errors import InputError

_STACK_BYTES = 32 * 2**20  # Holoscan asks for it and complains otherwise


class Scheduler(str, Enum):
    """Holoscan's schedulers."""

    greedy = "greedy"
    multi_thread = "multi_thread"
    event_based = "event_based"


class LogLevel(str, Enum):
    """The SDK's log levels."""

    debug = "DEBUG"
    info = "INFO"
    warn = "WARN"
    error = "ERROR"
    critical = "CRITICAL"


def run_application(
    study: Annotated[
        Path, typer.Option("--input", "-i", envvar="HOLOSCAN_INPUT_PATH", help="Folder with the study's DICOM files.")
    ] = Path("input"),
    out: Annotated[
        Path, typer.Option("--output", "-o", envvar="HOLOSCAN_OUTPUT_PATH", help="Folder for the results.")
    ] = Path("output"),
    models: Annotated[
        Path, typer.Option("--model", "-m", envvar="HOLOSCAN_MODEL_PATH", help="model.pt, its folder or a bundle.")
    ] = Path("models"),
    workdir: Annotated[
        Path | None, typer.Option("--workdir", "-w", envvar="HOLOSCAN_WORKDIR", help="Of the SDK; not needed.")
    ] = None,
    config: Annotated[
        str, typer.Option(envvar="LESION_APP_CONFIG", help="Overlays on inference.json, separated by commas.")
    ] = "",
    forms: Annotated[
        str, typer.Option(envvar="LESION_APP_FORMS", help="DICOM objects to write, separated by commas.")
    ] = ",".join(DEFAULT_FORMS),
    min_score: Annotated[
        float | None, typer.Option(envvar="LESION_APP_MIN_SCORE", help="Lowest score to report.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(envvar="LESION_APP_DEVICE", help="torch device, e.g. cpu or cuda:0.")
    ] = None,
    scheduler: Annotated[
        Scheduler, typer.Option(envvar="LESION_APP_SCHEDULER", help="Of Holoscan.")
    ] = Scheduler.greedy,
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", "-l", case_sensitive=False, help="Of the application and the SDK.")
    ] = LogLevel.error,
) -> None:
    """Choose the CT series of a DICOM study, find its lesions and publish SR, SEG and key images."""
    settings = ReportSettings(
        models=models,
        configs=tuple(name.strip() for name in config.split(",") if name.strip()),
        forms=tuple(split_forms(forms)),
        min_score=min_score,
        device=device or None,
    )
    _prepare_process(log_level.value)
    settings.check()
    try:
        from lesion_app.clinical.application import LesionApplication
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("holoscan", "monai"):
            raise
        raise InputError(
            "the MONAI Deploy App SDK is not installed; make deploy-env, install monai-deploy-app-sdk==4.0.0 with "
            "holoscan-cu13==4.2.0, or use lesion-app report, which does the same without it"
        ) from error
    application = LesionApplication(study, out, settings, scheduler.value)
    application.run()
    report = application.report
    count = len(report.document["lesions"])
    print(f"series: {report.series.explanation}")
    print(f"{count or 'no'} lesion{'' if count == 1 else 's'}; wrote {len(report.files)} files to {report.out}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the application and return its exit code.

    Args:
        arguments: of the command line; None = ``sys.argv``'s.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(run_application)
    try:
        app(args=arguments, prog_name="python -m lesion_app.clinical", standalone_mode=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _prepare_process(log_level: str) -> None:
    """What must be right before Holoscan is imported: its CUDA runtime, its stack, its log level."""
    import resource

    if preload_cuda_runtime() is None:
        try:
            ctypes.CDLL(LIBRARY)
        except OSError:
            raise InputError(
                f"the MONAI Deploy SDK needs {LIBRARY}, also without a GPU, and it was not found; "
                "pip install nvidia-cuda-runtime==13.0.96"
            ) from None

    unlimited = resource.RLIM_INFINITY
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != unlimited and soft < _STACK_BYTES and (hard == unlimited or hard >= _STACK_BYTES):
        resource.setrlimit(resource.RLIMIT_STACK, (_STACK_BYTES, hard))
    os.environ.setdefault("HOLOSCAN_LOG_LEVEL", log_level)
    logging.basicConfig(level=logging.WARNING if log_level == "WARN" else log_level)
