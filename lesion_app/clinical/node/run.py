"""One run of the command on a series."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

TETHER = Path(__file__).with_name("tether.py")
# What `lesion_app.cli.main` ends with after an InputError.
REFUSED = 2
_TAIL_BYTES = 64 * 1024
_LONGEST_REASON = 400
_UID = re.compile(r"\d+(?:\.\d+){4,}")


@dataclass(frozen=True)
class RunEnd:
    """How a run ended: its exit code, or why it was cut short (``stopped``, ``too long``); the end of its stderr."""

    code: int | None
    cut: str | None
    stderr: str


def run_command(
    command: Sequence[str],
    images: Path,
    output: Path,
    *,
    time_limit_s: float,
    stop: Callable[[], bool],
    poll_s: float = 0.1,
) -> RunEnd:
    """Run ``command`` with ``{input}`` and ``{output}`` filled in, until it ends, ``stop()`` is true or time is up.

    It and its children are killed when it is cut short, and when this process ends in any way. Its stdout is dropped,
    of its stderr the end is kept in memory.
    """
    places = {"{input}": str(images), "{output}": str(output)}
    arguments = [_fill(argument, places) for argument in command]
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(TETHER), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # Ctrl-C in a terminal is for the node, which then lets go of the tether.
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    tail = bytearray()
    reader = threading.Thread(target=_keep_tail, args=(process.stderr, tail), daemon=True)
    reader.start()
    end_at = time.monotonic() + time_limit_s
    cut: str | None = None
    while True:
        try:
            process.wait(poll_s)
            break
        except subprocess.TimeoutExpired:
            if cut is None:
                cut = "stopped" if stop() else "too long" if time.monotonic() > end_at else None
                if cut is not None:
                    process.stdin.close()
    process.stdin.close()
    # A grandchild that left the session could hold the pipe open.
    reader.join(2.0)
    return RunEnd(None if cut else process.returncode, cut, bytes(tail).decode(errors="replace"))


def _fill(argument: str, places: dict[str, str]) -> str:
    for place, value in places.items():
        argument = argument.replace(place, value)
    return argument


def _keep_tail(stream: IO[bytes], tail: bytearray) -> None:
    with stream:
        while chunk := stream.read1(4096):  # type: ignore[attr-defined]
            tail += chunk
            del tail[:-_TAIL_BYTES]


def reason_told(stderr: str, images: Path) -> str:
    """The last line of ``stderr`` as the reason of a refusal: one line, without UIDs, folders and patient data.

    A command should tell none of them; whatever the images' patient module says is taken out all the same.
    """
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if not lines:
        return "the command refused the series without a word"
    text = "".join(c if c.isprintable() else " " for c in lines[-1]).removeprefix("error: ")
    text = text.replace(str(images), "the series")
    text = _UID.sub("[uid]", text)
    for value in sorted(_patient_values(images), key=len, reverse=True):
        text = re.sub(re.escape(value), "[removed]", text, flags=re.IGNORECASE)
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"


def signal_of(end: RunEnd) -> int | None:
    """The signal that ended the command (or its tether), None when it ended by itself."""
    if end.code is None or 0 <= end.code <= 128:
        return None
    return -end.code if end.code < 0 else end.code - 128


def crash_told(end: RunEnd) -> str:
    """A crash in words; of its stderr only the name of the exception, whose text could quote a data set."""
    if (signal := signal_of(end)) is not None:
        return f"the command was killed by signal {signal}"
    named = re.findall(r"^([A-Za-z_][\w.]*(?:Error|Exception|Interrupt))(?::|$)", end.stderr, re.MULTILINE)
    return f"the command crashed with exit code {end.code}" + (f" ({named[-1]})" if named else "")


def _patient_values(images: Path) -> set[str]:
    """Texts of the patient group (0010) of the first image, of three characters or more, and parts of names."""
    import pydicom

    values: set[str] = set()
    for file in sorted(images.iterdir())[:1]:
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
            elements = [one for one in header if one.tag.group == 0x0010 or one.keyword == "AccessionNumber"]
            for element in elements:
                if element.VR != "SQ":
                    values.update({str(element.value), *re.split(r"[\^=\s]+", str(element.value))})
        except Exception:
            # An image that cannot be read has told the command nothing either.
            continue
    return {value for value in values if len(value) >= 3}
