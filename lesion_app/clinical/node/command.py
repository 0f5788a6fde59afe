"""The command line's ``serve`` and ``requeue``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lesion_app.errors import InputError


def serve(
    state: Annotated[Path, typer.Argument(help="Folder for queue, images and results; outlives restarts.")],
    pacs: Annotated[str, typer.Option(help="Where results go: AETITLE@host:port or http(s)://host/dicom-web.")],
    allow: Annotated[list[str], typer.Option(help="Calling AE title that may send; may be repeated.")],
    aet: Annotated[str, typer.Option(help="The node's AE title.")] = "ULD",
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for the whole network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="DICOM port; 0 takes a free one.")] = 11112,
    status_port: Annotated[int, typer.Option(help="Status page on 127.0.0.1; -1 leaves it out.")] = 8080,
    quiet: Annotated[float, typer.Option(help="Seconds without a new image after which a series is complete.")] = 10.0,
    grace: Annotated[float, typer.Option(help="Seconds a series waits when its transfer was cut off.")] = 60.0,
    command: Annotated[
        str | None, typer.Option(help="Run on each series, with {input} and {output}; default: lesion-app report.")
    ] = None,
    time_limit: Annotated[float, typer.Option(help="Longest run, s.")] = 1800.0,
    attempts: Annotated[int, typer.Option(help="Runs of a command that crashes.")] = 3,
    max_gb: Annotated[float, typer.Option(help="Images and results held at most, GB.")] = 50.0,
    min_free_gb: Annotated[float, typer.Option(help="Free space left on the disk, GB.")] = 1.0,
    keep_hours: Annotated[float, typer.Option(help="How long images stay after done or refused.")] = 24.0,
    keep_failed_hours: Annotated[float, typer.Option(help="How long images stay after failed.")] = 168.0,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate (PEM): TLS instead of plain DICOM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM, without password).")] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="Authorities (PEM) whose certificate a peer must show.")] = None,
    pacs_tls: Annotated[bool, typer.Option("--pacs-tls", help="TLS for C-STORE to the PACS too.")] = False,
) -> None:
    """Run a DICOM node: receive CT series, find lesions, store the findings in the PACS."""
    import os

    from lesion_app.clinical.node.log import log_to_stderr
    from lesion_app.clinical.node.node import run_node
    from lesion_app.clinical.node.settings import REPORT_COMMAND, NodeSettings, Pacs, TlsFiles, parse_command

    if (tls_cert is None) != (tls_key is None) or (tls_ca is not None and tls_cert is None):
        raise InputError("TLS needs --tls-cert and --tls-key together, and --tls-ca only beside them")
    settings = NodeSettings(
        state=state,
        pacs=Pacs.parse(pacs, tls=pacs_tls),
        callers=tuple(allow),
        ae_title=aet,
        host=host,
        port=port,
        status_port=None if status_port == -1 else status_port,
        quiet_s=quiet,
        grace_s=grace,
        time_limit_s=time_limit,
        attempts=attempts,
        max_bytes=int(max_gb * 1e9),
        min_free_bytes=int(min_free_gb * 1e9),
        keep_s=keep_hours * 3600,
        keep_failed_s=keep_failed_hours * 3600,
        command=REPORT_COMMAND if command is None else parse_command(command),
        tls=None if tls_cert is None or tls_key is None else TlsFiles(tls_cert, tls_key, tls_ca),
    )
    # Images hold patient data: nobody else on this machine reads them.
    os.umask(0o077)
    log_to_stderr()
    run_node(settings)


def requeue(
    state: Annotated[Path, typer.Argument(help="The node's folder; the node may be running.")],
    series: Annotated[str, typer.Argument(help="The series' hash, or its beginning, from log or status page.")] = "",
    every: Annotated[str | None, typer.Option(help="All series in this state: done, refused or failed.")] = None,
) -> None:
    """Take series that are done, refused or failed up again."""
    import time

    from lesion_app.clinical.node.job import FINAL
    from lesion_app.clinical.node.queue_view import find
    from lesion_app.clinical.node.series_queue import SeriesQueue

    if bool(series) == bool(every) or (every and every not in FINAL):
        raise InputError("name one series by its hash, or all of a state with --every done, refused or failed")
    database = state / "queue.db"
    if not database.is_file():
        raise InputError(f"{state} holds no queue.db; name the folder that lesion-app serve was given")
    queue = SeriesQueue(database)
    try:
        jobs = find(queue, series=series, state=every)
        if series and len(jobs) != 1:
            raise InputError(f"'{series}' fits {len(jobs)} series; give the hash as the status page shows it")
        for job in jobs:
            try:
                print(f"series {job.series_hash}: {job.state} -> {queue.requeue(job, time.time())}")
            except InputError as error:
                if series:
                    raise
                print(f"series {job.series_hash}: {error}")
    finally:
        queue.close()
