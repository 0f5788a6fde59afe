"""What a node is told when it is started, checked before anything is opened."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from lesion_app.errors import InputError

# The console script may lie outside PATH (a service's environment), the interpreter is always known.
REPORT_COMMAND = (
    *(sys.executable, "-c", "import sys; from lesion_app.cli import main; sys.argv[0] = 'lesion-app'; main()"),
    *("report", "{input}", "{output}"),
)
# Default repertoire without backslash and control characters, 1 to 16 characters (PS3.5 table 6.2-1, VR AE).
_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")


def check_ae_title(title: str, role: str) -> str:
    """``title`` without surrounding spaces.

    Raises:
        InputError: when it is no AE title (1 to 16 ASCII characters, no backslash).
    """
    if not _AE_TITLE.fullmatch(title) or not title.strip():
        raise InputError(f"{role} '{title}' is no AE title; expected 1 to 16 ASCII characters without backslash")
    return title.strip()


def parse_command(text: str) -> tuple[str, ...]:
    """Command line -> arguments, quotes as in a shell, nothing expanded.

    Raises:
        InputError: for an unclosed quote.
    """
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(f"the command cannot be read ({error}); quote it as for a shell") from error


@dataclass(frozen=True)
class Pacs:
    """Where results go: C-STORE to ``ae_title`` at ``host``:``port``, or STOW-RS to ``url``."""

    ae_title: str = ""
    host: str = ""
    port: int = 0
    tls: bool = False
    url: str = ""

    @classmethod
    def parse(cls, text: str, *, tls: bool = False) -> Pacs:
        """``AETITLE@host:port`` or ``http(s)://host/dicom-web``.

        Raises:
            InputError: for anything else.
        """
        if text.startswith(("http://", "https://")):
            parts = urlsplit(text)
            if not parts.hostname or parts.username or parts.password:
                raise InputError(
                    "the URL of the PACS needs a host and no password in it; expected http(s)://host/dicom-web "
                    "(credentials belong in ~/.netrc)"
                )
            return cls(url=text.rstrip("/"))
        title, at, place = text.rpartition("@")
        host, colon, port = place.rpartition(":")
        if not (at and colon and host and port.isdecimal() and 0 < int(port) < 65536):
            raise InputError(f"the PACS '{text}' is not understood; expected AETITLE@host:port or http(s)://host/path")
        return cls(check_ae_title(title, "the PACS's"), host.strip("[]"), int(port), tls)

    def __str__(self) -> str:
        return self.url or f"{self.ae_title}@{self.host}:{self.port}"


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: own certificate and key, and the authorities whose certificates peers must show (None: none asked)."""

    certificate: Path
    key: Path
    authorities: Path | None = None


@dataclass(frozen=True)
class NodeSettings:
    """One node.

    Attributes:
        state: folder that outlives the process: queue, images, results.
        pacs: where results go.
        callers: calling AE titles that may send.
        ae_title: the node's own; other called AE titles are rejected.
        host, port: where the node listens; port 0 takes a free one.
        status_port: HTTP port of the status page on 127.0.0.1; 0 takes a free one, None leaves the page out.
        quiet_s: a series is complete when no new image came for this time, s.
        grace_s: how long a series waits for its sender to come back when its transfer was cut off, s.
        time_limit_s: longest run of the command, s.
        attempts: runs of a command that crashes.
        interruptions: runs cut short by the end of the node itself before the series is given up.
        delivery_attempts: tries for a result that the PACS refuses (an absent PACS is waited for without limit).
        max_bytes: images and results held at most, bytes.
        min_free_bytes: free space left on the disk, bytes.
        keep_s: how long images stay after ``done`` or ``refused``, s.
        keep_failed_s: how long images and results stay after ``failed``, s.
        max_associations: peers served at once.
        command: arguments; ``{input}`` and ``{output}`` become folders.
        tls: None for plain DICOM.

    Raises:
        InputError: for a value that cannot work.
    """

    state: Path
    pacs: Pacs
    callers: tuple[str, ...]
    ae_title: str = "ULD"
    host: str = "127.0.0.1"
    port: int = 11112
    status_port: int | None = 8080
    quiet_s: float = 10.0
    grace_s: float = 60.0
    time_limit_s: float = 1800.0
    attempts: int = 3
    interruptions: int = 10
    delivery_attempts: int = 8
    max_bytes: int = 50 * 10**9
    min_free_bytes: int = 10**9
    keep_s: float = 24 * 3600.0
    keep_failed_s: float = 7 * 24 * 3600.0
    max_associations: int = 4
    command: tuple[str, ...] = field(default=REPORT_COMMAND)
    tls: TlsFiles | None = None

    def __post_init__(self) -> None:
        check_ae_title(self.ae_title, "the node's")
        if not self.callers:
            raise InputError("no calling AE title is allowed to send; name at least one with --allow")
        for title in self.callers:
            check_ae_title(title, "the allowed")
        for name in ("quiet_s", "time_limit_s", "attempts", "interruptions", "delivery_attempts", "max_associations"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; expected more than 0")
        for name in ("grace_s", "max_bytes", "min_free_bytes", "keep_s", "keep_failed_s"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} is {getattr(self, name)}; expected 0 or more")
        for name in ("port", "status_port"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 65536:
                raise InputError(f"{name} is {value}; expected 0 to 65535")
        self._check_command()
        if self.pacs.tls and self.tls is None:
            raise InputError("TLS towards the PACS was asked for without --tls-cert and --tls-key; name both")

    def _check_command(self) -> None:
        for place in ("{input}", "{output}"):
            if not any(place in argument for argument in self.command):
                raise InputError(
                    f"the command has no {place}; expected for example: lesion-app report {{input}} {{output}}"
                )
        if shutil.which(self.command[0]) is None:
            raise InputError(f"the command's program '{self.command[0]}' was not found; give its full path")
