"""Fifty studies through a node that is killed again and again."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

STUDIES, IMAGES, KILLS = 50, 3, 12
# About 30 s on two idle cores; more than this is a node that stands still.
LONGEST_S = 150

START = "import typer; from lesion_app.clinical.node.command import serve; typer.run(serve)"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class KilledNode:
    """A node in a process of its own, on one folder and one port for all of its lives."""

    def __init__(self, folder, pacs_port: int, command: tuple[str, ...]) -> None:
        self.port = free_port()
        self.log = folder / "node.log"
        arguments = {
            "--pacs": f"PACS@127.0.0.1:{pacs_port}",
            "--allow": "SCANNER",
            "--port": str(self.port),
            "--status-port": "-1",
            "--quiet": "1.5",
            # Longer than a sender takes to notice the end of the node and to come back.
            "--grace": "12",
            "--min-free-gb": "0",
            "--command": " ".join(command),
        }
        options = [part for pair in arguments.items() for part in pair]
        self.command = [sys.executable, "-c", START, str(folder / "state"), *options]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)


def send_all(images, port, send, over: threading.Event) -> None:
    """As an archive does: a series an association, and what was not answered with success is sent again."""
    waiting = list(images)
    while waiting and not over.is_set():
        batch = [image for image in waiting if image.SeriesInstanceUID == waiting[0].SeriesInstanceUID]
        answered = [image for image, status in zip(batch, send(port, batch)) if status == 0]
        waiting = [image for image in waiting if not any(image is one for one in answered)]
        if not answered:
            over.wait(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [7])
def test_fifty_studies_and_a_node_killed_at_random(seed, tmp_path, pacs, send, make_ct, stand_in, result_uid):
    from lesion_app.clinical.node.queue_view import counts
    from lesion_app.clinical.node.series_queue import SeriesQueue

    chance = random.Random(seed)
    series = [f"1.2.826.0.1.3680043.2.{n}" for n in range(1, STUDIES + 1)]
    images = [make_ct(uid, number) for uid in series for number in range(1, IMAGES + 1)]
    node = KilledNode(tmp_path, pacs.port, stand_in("find"))
    over = threading.Event()
    node.start()
    senders = [
        threading.Thread(target=send_all, args=(part, node.port, send, over), daemon=True)
        for part in (images[: len(images) // 2], images[len(images) // 2 :])
    ]
    for one in senders:
        one.start()
    kills = 0
    deadline = time.monotonic() + LONGEST_S
    try:
        while len(pacs.received) < STUDIES or kills < KILLS:
            assert time.monotonic() < deadline, f"{len(pacs.received)} results after {LONGEST_S} s and {kills} kills"
            if kills < KILLS:
                # Long enough to start and get something done, short enough to be cut off in the middle of it.
                time.sleep(chance.uniform(0.8, 2.5))
                assert node.end(signal.SIGKILL) == -signal.SIGKILL, node.log.read_text()
                kills += 1
                node.start()
            time.sleep(0.05)
        for one in senders:
            one.join(10)
            assert not one.is_alive()
        # What else might come, a double above all, comes within a few quiet periods.
        time.sleep(2.0)
        assert node.end(signal.SIGTERM) == 0
    finally:
        over.set()
        if node.process is not None and node.process.poll() is None:
            node.process.kill()
    assert set(pacs.received) == {result_uid(uid, IMAGES) for uid in series}
    queue = SeriesQueue(tmp_path / "state" / "queue.db")
    assert {state: number for state, number in counts(queue).items() if number} == {"done": STUDIES}
    queue.close()
    assert list((tmp_path / "state" / "runs").iterdir()) == []
    assert "immerblume" not in node.log.read_text()


def test_what_the_node_runs_ends_with_it(tmp_path, pacs, send, make_ct, wait_for):
    script = tmp_path / "long.py"
    script.write_text(
        "import os, pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "file = pathlib.Path(__file__).with_name('pids.tmp'); file.write_text(f'{os.getpid()} {child.pid}')\n"
        "file.rename(file.with_suffix('.txt')); time.sleep(60)\n"
    )
    node = KilledNode(tmp_path, pacs.port, (sys.executable, str(script), "{input}", "{output}"))
    node.start()
    try:
        wait_for(lambda: send(node.port, [make_ct()]) == [0])
        wait_for((tmp_path / "pids.txt").exists)
        pids = [int(text) for text in (tmp_path / "pids.txt").read_text().split()]
        assert all(alive(pid) for pid in pids)
        node.end(signal.SIGKILL)
        wait_for(lambda: not any(alive(pid) for pid in pids), 5)
    finally:
        if node.process is not None and node.process.poll() is None:
            node.process.kill()


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
