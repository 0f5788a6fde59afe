"""What goes by the clock: closing quiet series, removing old files, watching the disk."""

from __future__ import annotations

import time

from lesion_app.clinical.node.log import LOG
from lesion_app.clinical.node.loop import Loop
from lesion_app.clinical.node.receiver import STALL_S, Receiver
from lesion_app.clinical.node.retention import Retention
from lesion_app.clinical.node.series_queue import SeriesQueue
from lesion_app.clinical.node.settings import NodeSettings

_EXPIRE_EVERY_S = 10.0


class Housekeeper(Loop):
    """A step every fifth of a second."""

    def __init__(self, settings: NodeSettings, queue: SeriesQueue, receiver: Receiver, retention: Retention) -> None:
        super().__init__("housekeeper", pause_s=0.2)
        self.settings, self.queue, self.receiver, self.retention = settings, queue, receiver, retention
        self._expire_at = 0.0

    def step(self) -> bool:
        """Do what is due."""
        for job in self.queue.close_quiet(time.time(), self.settings.quiet_s):
            LOG.info("%s: %s, %d images%s", job, job.state, job.images, f": {job.reason}" if job.reason else "")
        self.receiver.abort_when_full()
        if time.monotonic() >= self._expire_at:
            self._expire_at = time.monotonic() + _EXPIRE_EVERY_S
            if self.retention.expire(time.time()):
                self.receiver.full = False
            # What an association left when it was cut off; what is still being written to is younger.
            self.retention.folder.remove_incoming(older_than_s=2 * STALL_S)
        return False
