"""Runs a command that must not outlive the node: ``python -I tether.py PROGRAM ARGUMENTS...``.

Standard input is a pipe whose other end the node holds and never writes to. It closes when the node lets go, or ends in
any way, SIGKILL included; then the command and all its children are killed. The exit code is the command's, 128 plus
the signal's number where a signal ended it, 125 where it could not be started.

Standard library only: started by its path, before every run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

CANNOT_START = 125


def main(command: list[str]) -> int:
    """Run ``command``; the exit code to end with."""
    # A service manager signals all processes of a service; the tether stays to report how the command took it.
    # A handler, unlike SIG_IGN, is not inherited by the command.
    for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(asked, lambda *_: None)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return CANNOT_START
    threading.Thread(target=_kill_at_end_of_input, args=(child.pid,), daemon=True).start()
    code = child.wait()
    return 128 - code if code < 0 else code


def _kill_at_end_of_input(group: int) -> None:
    while os.read(0, 1024):
        pass
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
