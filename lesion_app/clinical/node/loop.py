"""A thread that does one step after another until it is told to stop."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from lesion_app.clinical.node.log import LOG, place_of


class Loop(threading.Thread, ABC):
    """Calls :meth:`step` again and again; an error is logged without its message and the loop goes on.

    Args:
        name: of the thread.
        pause_s: rest after a step that found nothing to do, s.
    """

    def __init__(self, name: str, pause_s: float) -> None:
        super().__init__(name=name, daemon=True)
        self.pause_s = pause_s
        self.stopping = threading.Event()
        self.trouble: str | None = None

    @abstractmethod
    def step(self) -> bool:
        """Do the next piece of work; False when there was none."""

    def run(self) -> None:
        """The thread's body."""
        while not self.stopping.is_set():
            try:
                busy = self.step()
                self.trouble = None
            except Exception as error:
                # A full disk or a locked database must not end the thread: what it works on stays in the queue.
                busy = False
                if self.trouble != place_of(error):
                    self.trouble = place_of(error)
                    LOG.error("%s: %s; tried again", self.name, self.trouble)
                self.stopping.wait(1.0)
            if not busy:
                self.stopping.wait(self.pause_s)

    def stop(self, timeout_s: float = 30.0) -> None:
        """Ask the thread to end and wait for it."""
        self.stopping.set()
        if self.is_alive():
            self.join(timeout_s)
