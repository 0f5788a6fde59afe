"""Runs the command on one complete series after another."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from lesion_app.clinical.node.job import Job, Result
from lesion_app.clinical.node.log import LOG, place_of
from lesion_app.clinical.node.loop import Loop
from lesion_app.clinical.node.queue_view import known_runs
from lesion_app.clinical.node.run import REFUSED, RunEnd, crash_told, reason_told, run_command, signal_of
from lesion_app.clinical.node.series_queue import SeriesQueue
from lesion_app.clinical.node.settings import NodeSettings
from lesion_app.clinical.node.state_folder import StateFolder, fsync_file, fsync_folder, is_uid, new_token

# Pause before a crashed command is run again: what killed it (memory, a driver) may pass.
_CRASH_PAUSE_S = 5.0


class Worker(Loop):
    """One run at a time: memory is bounded by what one run needs."""

    def __init__(
        self, settings: NodeSettings, queue: SeriesQueue, folder: StateFolder, *, crash_pause_s: float = _CRASH_PAUSE_S
    ) -> None:
        super().__init__("worker", pause_s=0.2)
        self.settings, self.queue, self.folder = settings, queue, folder
        self.crash_pause_s = crash_pause_s

    def step(self) -> bool:
        """Run the oldest ready series."""
        if self.trouble is not None:
            # The queue could not be written in the step before: its run is over without a word in the queue.
            self.queue.recover(time.time(), self.settings.interruptions)
        token = new_token()
        claimed = self.queue.claim(token, time.time())
        if claimed is None:
            return False
        job, sop_uids = claimed
        try:
            self._run(job, token, sop_uids)
        except Exception as error:
            LOG.error("%s: the run could not be made: %s", job, place_of(error))
            self._crashed(job, f"the run could not be made ({place_of(error)})")
        if token not in known_runs(self.queue):
            self.folder.remove_run(token)
        return True

    def _run(self, job: Job, token: str, sop_uids: list[str]) -> None:
        images, output = self.folder.new_run(token, job.series_uid, sop_uids)
        LOG.info("%s: %d images, run %d", job, job.images, job.attempts)
        end = run_command(
            self.settings.command,
            images,
            output,
            time_limit_s=self.settings.time_limit_s,
            stop=lambda: self.stopping.is_set() or not self.queue.runs(job),
        )
        if signal_of(end) in (signal.SIGTERM, signal.SIGINT):
            # A service manager ends the command at the same moment as the node, which may hear of it a little later.
            self.stopping.wait(1.0)
        if end.cut == "stopped" or (self.stopping.is_set() and end.code not in (0, REFUSED)):
            if self.queue.run_again(job, None, time.time(), 0.0, counted=False):
                LOG.info("%s: run put back, the node stops", job)
            else:
                LOG.info("%s: run dropped, more images have arrived", job)
        elif end.code == 0:
            self._stage(job, output)
        else:
            self._ended_without_results(job, end, images)

    def _stage(self, job: Job, output: Path) -> None:
        try:
            results = results_in(output)
        except ValueError as error:
            self._end(job, "failed", str(error))
            return
        if not results:
            self._end(job, "failed", "the command ended with success but left no DICOM file")
            return
        for one in results:
            fsync_file(output / one.file)
        for folder in {(output / one.file).parent for one in results} | {output, output.parent, self.folder.runs}:
            fsync_folder(folder)
        staged = self.queue.stage(job, results, time.time())
        self.folder.remove_input(output.parent.name)
        LOG.info("%s: %s", job, f"{len(results)} results" if staged else "run dropped, more images have arrived")

    def _ended_without_results(self, job: Job, end: RunEnd, images: Path) -> None:
        if end.cut == "too long":
            self._end(job, "failed", f"the command took longer than {self.settings.time_limit_s:g} s")
        elif end.code == REFUSED:
            self._end(job, "refused", reason_told(end.stderr, images))
        else:
            self._crashed(job, crash_told(end))

    def _crashed(self, job: Job, reason: str) -> None:
        if job.attempts >= self.settings.attempts:
            self._end(job, "failed", f"{reason}, {job.attempts} times")
        elif self.queue.run_again(job, reason, time.time(), self.crash_pause_s * job.attempts):
            LOG.warning("%s: %s; run again", job, reason)

    def _end(self, job: Job, state: str, reason: str) -> None:
        if self.queue.end_run(job, state, reason, time.time()):
            LOG.warning("%s: %s: %s", job, state, reason)


def results_in(output: Path) -> list[Result]:
    """The DICOM files under ``output``, sorted by name; other files are left out.

    Raises:
        ValueError: when one has no proper SOP instance UID or two have the same.
    """
    import pydicom
    from pydicom.misc import is_dicom

    results: dict[str, Result] = {}
    files = (file for file in output.rglob("*") if file.is_file() and not file.is_symlink()) if output.is_dir() else ()
    for file in sorted(files):
        if not is_dicom(file):
            continue
        meta = pydicom.filereader.read_file_meta_info(file)
        uid = str(meta.get("MediaStorageSOPInstanceUID", ""))
        if not is_uid(uid) or uid in results:
            raise ValueError("the command left two DICOM files with the same SOP instance UID, or one without")
        results[uid] = Result(uid, file.relative_to(output).as_posix(), file.stat().st_size)
    return list(results.values())
