"""The files of a node: images received, folders of runs, the lock that keeps a second node out."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from lesion_app.errors import InputError

# PS3.5 section 9.1; components with leading zeros are wrong but common, and harmless here.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def is_uid(text: str) -> bool:
    """Digits and dots, at most 64 characters (PS3.5 section 9.1)."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def fsync_folder(folder: Path) -> None:
    """Make the names in ``folder`` outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(file: Path) -> None:
    """Make the bytes of ``file`` outlive a power cut."""
    with open(file, "rb") as stream:
        os.fsync(stream.fileno())


def _name(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:40]


class StateFolder:
    """``incoming/`` (being received), ``series/<hash>/<hash>.dcm``, ``runs/<token>/{input,output}``, ``queue.db``.

    No name in it comes from the network: UIDs are hashed.

    Raises:
        InputError: when the folder cannot be made or written, or another node uses it.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()
        self.incoming, self.series, self.runs = (self.root / name for name in ("incoming", "series", "runs"))
        self.database = self.root / "queue.db"
        # Keeping an image and removing its series must not interleave.
        self.lock = threading.RLock()
        self._guard: int | None = None
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in (self.incoming, self.series, self.runs):
                folder.mkdir(exist_ok=True, mode=0o700)
            self._guard = self._take_lock()
        except OSError as error:
            raise InputError(
                f"the state folder {root} cannot be written ({error.strerror}); name a folder the node may write to"
            ) from error

    def _take_lock(self) -> int:
        import fcntl

        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # Held by the open file, so that the kernel frees it however the process ends.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise InputError(
                f"another node already uses the state folder {self.root}; stop it or name another folder with --state"
            ) from None
        return descriptor

    def close(self) -> None:
        """Give the lock back."""
        if self._guard is not None:
            os.close(self._guard)
            self._guard = None

    def instance(self, series_uid: str, sop_uid: str) -> Path:
        """Where an image is kept."""
        return self.series / _name(series_uid) / f"{_name(sop_uid)}.dcm"

    def keep(self, received: Path, series_uid: str, sop_uid: str) -> Path:
        """Move a received file to its place; on the disk for good when this returns.

        Raises:
            OSError: when the disk says no.
        """
        place = self.instance(series_uid, sop_uid)
        fsync_file(received)
        if not place.parent.is_dir():
            place.parent.mkdir(mode=0o700, exist_ok=True)
            fsync_folder(self.series)
        os.replace(received, place)
        fsync_folder(place.parent)
        return place

    def remove_series(self, series_uid: str) -> None:
        """Remove the images of a series."""
        shutil.rmtree(self.series / _name(series_uid), ignore_errors=True)

    def run_folder(self, token: str) -> Path:
        """Folder of one run."""
        return self.runs / token

    def new_run(self, token: str, series_uid: str, sop_uids: Iterable[str]) -> tuple[Path, Path]:
        """(input, output): the recorded images under neutral names, hard-linked where the disk can, and no output yet.

        Raises:
            OSError: when an image is missing or the disk is full.
        """
        folder = self.run_folder(token) / "input"
        folder.mkdir(parents=True, mode=0o700)
        for sop_uid in sop_uids:
            source = self.instance(series_uid, sop_uid)
            try:
                os.link(source, folder / source.name)
            except FileNotFoundError:
                raise
            except OSError:
                shutil.copyfile(source, folder / source.name)
        return folder, folder.with_name("output")

    def remove_input(self, token: str) -> None:
        """Remove the images of a run that is over; its output stays."""
        shutil.rmtree(self.run_folder(token) / "input", ignore_errors=True)

    def remove_run(self, token: str) -> None:
        """Remove the folder of a run."""
        shutil.rmtree(self.run_folder(token), ignore_errors=True)

    def remove_unknown(self, instances: Iterable[tuple[str, str]], runs: Iterable[str]) -> None:
        """Remove what a killed node left behind: every file that the queue does not know.

        Args:
            instances: (series UID, SOP instance UID) of all images in the queue.
            runs: tokens of runs whose results are still needed.
        """
        known = {self.instance(*uids) for uids in instances}
        for file in self.series.glob("*/*"):
            if file not in known:
                file.unlink(missing_ok=True)
        for folder in self.series.iterdir():
            if not any(folder.iterdir()):
                folder.rmdir()
        wanted = set(runs)
        for folder in self.runs.iterdir():
            if folder.name not in wanted:
                shutil.rmtree(folder, ignore_errors=True)
        self.remove_incoming(older_than_s=0.0)

    def remove_incoming(self, older_than_s: float) -> None:
        """Remove images whose reception stopped in the middle: last written to ``older_than_s`` ago or more."""
        for file in self.incoming.iterdir():
            try:
                if time.time() - file.stat().st_mtime >= older_than_s:
                    file.unlink()
            except FileNotFoundError:
                continue

    def free_bytes(self) -> int:
        """Free space of the disk, bytes."""
        return shutil.disk_usage(self.root).free

    def incoming_bytes(self) -> int:
        """Bytes of the images that are being received at this moment."""
        total = 0
        for file in self.incoming.iterdir():
            try:
                total += file.stat().st_size
            except FileNotFoundError:
                continue
        return total


def new_token() -> str:
    """A name for a run that no earlier run had, so that what a stray process still writes is never taken."""
    return uuid.uuid4().hex
