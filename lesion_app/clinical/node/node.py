"""The node: receiver, housekeeper, worker, sender and status page around one queue."""

from __future__ import annotations

import dataclasses
import signal
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from lesion_app.clinical.node import queue_view
from lesion_app.clinical.node.housekeeper import Housekeeper
from lesion_app.clinical.node.log import LOG
from lesion_app.clinical.node.receiver import Receiver
from lesion_app.clinical.node.retention import Retention
from lesion_app.clinical.node.sender import Sender
from lesion_app.clinical.node.series_queue import SeriesQueue
from lesion_app.clinical.node.settings import NodeSettings, Pacs
from lesion_app.clinical.node.state_folder import StateFolder
from lesion_app.clinical.node.status_page import StatusPage
from lesion_app.clinical.node.tls import client_context
from lesion_app.clinical.node.worker import Worker
from lesion_app.errors import InputError


class Node:
    """A node that is running after :meth:`start` and until :meth:`stop`; usable as a context manager.

    Raises:
        InputError: from :meth:`start`, for whatever keeps the node from working.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self.settings = settings
        self._open: list[Any] = []

    def start(self) -> Node:
        """Take up what an earlier node left, then listen."""
        _check_extras(self.settings)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        settings = self.settings
        if settings.tls is not None:
            client_context(settings.tls)
        self.folder = StateFolder(settings.state)
        self._open.append(self.folder.close)
        self.queue = SeriesQueue(self.folder.database)
        self._open.append(self.queue.close)
        self.queue.recover(time.time(), settings.interruptions)
        # The end of the node before has cut off whatever was under way.
        self.queue.hold(time.time() + settings.grace_s)
        self.folder.remove_unknown(queue_view.known_instances(self.queue), queue_view.known_runs(self.queue))
        self.retention = Retention(settings, self.queue, self.folder)
        self.receiver = Receiver(settings, self.queue, self.folder, self.retention)
        self.housekeeper = Housekeeper(settings, self.queue, self.receiver, self.retention)
        self.worker = Worker(settings, self.queue, self.folder)
        self.sender = Sender(settings, self.queue, self.folder)
        self.status_page: StatusPage | None = None
        if settings.status_port is not None:
            self.status_page = StatusPage(settings.status_port, self.status)
            self._open.append(self.status_page.stop)
        self.receiver.start()
        loops = (self.housekeeper, self.worker, self.sender)
        for loop in loops:
            loop.start()
        # Undone in reverse: no more images first, then all loops at once, so that each ends its own work meanwhile.
        self._open += [*(loop.stop for loop in loops), *(loop.stopping.set for loop in loops), self.receiver.stop]
        if self.status_page is not None:
            self.status_page.start()

    def stop(self) -> None:
        """Stop listening, put a run under way back into the queue, let go of the state folder."""
        while self._open:
            self._open.pop()()

    def __enter__(self) -> Node:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def problems(self) -> list[str]:
        """What keeps the node from doing its work, in sentences; empty when nothing does."""
        found = []
        if not self.receiver.alive():
            found.append("The node does not listen any more.")
        for loop in (self.housekeeper, self.worker, self.sender):
            if not loop.is_alive():
                found.append(f"The {loop.name} has ended.")
            elif loop.trouble:
                found.append(f"The {loop.name} meets an error: {loop.trouble}.")
        if self.receiver.full or not self.retention.has_room(0):
            found.append("There is no room for more images.")
        if self.sender.away:
            found.append(f"The PACS takes nothing: {self.sender.away}; results wait.")
        return found

    def status(self) -> dict[str, Any]:
        """What the status page shows."""
        return {
            "node": f"{self.settings.ae_title}@{self.settings.host}:{self.receiver.port}",
            "problems": self.problems(),
            "counts": queue_view.counts(self.queue),
            "pacs": {"address": str(self.settings.pacs), "away": self.sender.away},
            "bytes": {"held": queue_view.held_bytes(self.queue), "limit": self.settings.max_bytes},
            "series": [dataclasses.asdict(line) for line in queue_view.recent(self.queue)],
        }


def run_node(settings: NodeSettings) -> None:
    """Run a node until SIGTERM or SIGINT; in the main thread.

    Raises:
        InputError: for whatever keeps the node from starting.
    """
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    with Node(settings) as node:
        listening = f"{settings.ae_title}@{settings.host}:{node.receiver.port}"
        secured = "" if settings.tls is None else " with TLS"
        LOG.info("listening as %s%s for %s", listening, secured, ", ".join(settings.callers))
        if node.status_page is not None:
            LOG.info("status page: http://127.0.0.1:%d/", node.status_page.port)
        if settings.tls is None and settings.host not in ("127.0.0.1", "::1", "localhost"):
            LOG.warning("images travel unencrypted: the node listens beyond this machine without --tls-cert")
        if not reachable(settings.pacs):
            LOG.warning("the PACS %s cannot be reached at the moment; results wait until it can", settings.pacs)
        asked.wait()
        LOG.info("stopping")
    LOG.info("stopped")


def reachable(pacs: Pacs, timeout_s: float = 3.0) -> bool:
    """Whether something listens where results go."""
    host, port = pacs.host, pacs.port
    if pacs.url:
        parts = urlsplit(pacs.url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError:
        return False
    return True


def _check_extras(settings: NodeSettings) -> None:
    from importlib.util import find_spec

    for module in ("pynetdicom", *(("dicomweb_client",) if settings.pacs.url else ())):
        if find_spec(module) is None:
            raise InputError(f"the node needs {module}, which is not installed; pip install 'lesion-app[deploy]'")
