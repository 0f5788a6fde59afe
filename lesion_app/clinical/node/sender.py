"""Delivers staged results until the PACS holds them."""

from __future__ import annotations

import time

from lesion_app.clinical.node.delivery import PacsAwayError, open_delivery
from lesion_app.clinical.node.job import Job
from lesion_app.clinical.node.log import LOG, place_of
from lesion_app.clinical.node.loop import Loop
from lesion_app.clinical.node.series_queue import SeriesQueue
from lesion_app.clinical.node.settings import NodeSettings
from lesion_app.clinical.node.state_folder import StateFolder

_LONGEST_PAUSE_S = 300.0


class Sender(Loop):
    """One series at a time, oldest first.

    What the PACS has confirmed is not sent again, except where the node ended between the answer and its record: then
    the same SOP instance is sent twice, which a PACS takes as one. While the PACS is away everything waits, without
    limit; a result that it refuses is tried ``settings.delivery_attempts`` times.
    """

    def __init__(
        self, settings: NodeSettings, queue: SeriesQueue, folder: StateFolder, *, first_pause_s: float = 2.0
    ) -> None:
        super().__init__("sender", pause_s=0.2)
        self.settings, self.queue, self.folder = settings, queue, folder
        self.first_pause_s = first_pause_s
        self.away: str | None = None
        self._away_count = 0
        self._next_try = 0.0

    def step(self) -> bool:
        """Deliver the oldest staged series that is due."""
        if time.monotonic() < self._next_try:
            return False
        job = self.queue.next_delivery(time.time())
        if job is None:
            return False
        try:
            refusal = self._deliver(job)
        except PacsAwayError as error:
            self._pacs_is_away(str(error))
            return False
        except FileNotFoundError as error:
            self.queue.give_up_delivery(
                job, f"its results are gone from the state folder ({place_of(error)})", time.time()
            )
            LOG.error("%s: failed: results are gone from the state folder", job)
            return True
        if self.stopping.is_set() and self.queue.undelivered(job) and refusal is None:
            return False
        self._pacs_is_back()
        if refusal is not None:
            self._refused(job, refusal)
        else:
            self._finish(job)
        return True

    def _deliver(self, job: Job) -> str | None:
        """Send what is missing; the first refusal, or None."""
        results = self.queue.undelivered(job)
        if not results:
            return None
        assert job.run is not None
        output = self.folder.run_folder(job.run) / "output"
        refusal: str | None = None
        with open_delivery(self.settings, [output / one.file for one in results]) as delivery:
            for one in results:
                if self.stopping.is_set():
                    break
                told = delivery.store(output / one.file)
                if told is None:
                    self.queue.confirm(job, one.sop_uid)
                else:
                    refusal = refusal or told
        return refusal

    def _finish(self, job: Job) -> None:
        self.queue.stored(job, time.time())
        if job.run is not None:
            self.folder.remove_run(job.run)
        self.queue.done(job, time.time())
        LOG.info("%s: done, the PACS holds its results", job)

    def _refused(self, job: Job, reason: str) -> None:
        tries = job.deliveries + 1
        if tries >= self.settings.delivery_attempts:
            self.queue.give_up_delivery(job, f"{reason}, {tries} times", time.time())
            LOG.error("%s: failed: %s, %d times", job, reason, tries)
        else:
            pause = min(_LONGEST_PAUSE_S, self.first_pause_s * 2**tries)
            self.queue.postpone(job, reason, time.time(), pause)
            LOG.warning("%s: %s; tried again in %g s", job, reason, pause)

    def _pacs_is_away(self, reason: str) -> None:
        pause = min(_LONGEST_PAUSE_S, self.first_pause_s * 2 ** min(self._away_count, 10))
        self._away_count += 1
        self._next_try = time.monotonic() + pause
        if self.away != reason:
            LOG.warning("the PACS %s takes nothing (%s); results wait and are sent later", self.settings.pacs, reason)
        self.away = reason

    def _pacs_is_back(self) -> None:
        if self.away is not None:
            LOG.info("the PACS %s takes results again", self.settings.pacs)
        self.away, self._away_count = None, 0
