"""How long images stay, and how many bytes there may be."""

from __future__ import annotations

import time

from lesion_app.clinical.node.log import LOG, series_hash
from lesion_app.clinical.node.queue_view import forget_files, held_bytes, removable
from lesion_app.clinical.node.series_queue import SeriesQueue
from lesion_app.clinical.node.settings import NodeSettings
from lesion_app.clinical.node.state_folder import StateFolder


class Retention:
    """Removes the files of series that are over; their states stay in the queue."""

    def __init__(self, settings: NodeSettings, queue: SeriesQueue, folder: StateFolder) -> None:
        self.settings, self.queue, self.folder = settings, queue, folder

    def has_room(self, size: int) -> bool:
        """Whether ``size`` more bytes (on the disk already, not yet in the queue) are within the limits."""
        within = held_bytes(self.queue) + size <= self.settings.max_bytes
        return within and self.folder.free_bytes() >= self.settings.min_free_bytes

    def make_room(self, size: int, *, but: str) -> bool:
        """Whether there is room for ``size`` bytes, if need be after removing done or refused series early.

        Series ``but`` is spared; so is what failed, which a requeue may still mend.
        """
        if self.has_room(size):
            return True
        now = time.time()
        for series_uid in removable(self.queue, now, now - self.settings.keep_failed_s):
            if series_uid != but:
                self._remove(series_uid)
                if self.has_room(size):
                    return True
        return False

    def expire(self, now: float) -> int:
        """Remove the files of series whose time is over; how many series."""
        over = removable(self.queue, now - self.settings.keep_s, now - self.settings.keep_failed_s)
        for series_uid in over:
            self._remove(series_uid)
        return len(over)

    def _remove(self, series_uid: str) -> None:
        with self.folder.lock:
            # Rows first: a kill in between leaves files without rows, which the next start removes.
            runs = forget_files(self.queue, series_uid)
            if runs is None:
                return
            for token in runs:
                self.folder.remove_run(token)
            self.folder.remove_series(series_uid)
        LOG.info("series %s: images removed", series_hash(series_uid))
