"""Results that appear in their folder whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import glob
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lesion_app.errors import InputError
from lesion_app.inferers.lesions_json import sha256_of

MANIFEST = "results.json"
_MADE_BY = "lesion-app report"


@contextmanager
def staged_results(out: Path) -> Iterator[Path]:
    """Yield an empty hidden folder; when the block ends without an error, its content becomes that of ``out``.

    The block must have called :func:`write_manifest`. A new, empty or earlier results folder is replaced by one
    rename. A folder that cannot be (a mount point, as in containers, or one whose parent is read-only) is filled
    entry by entry, ``results.json`` last: a folder without it is not complete, and what a killed run left in it is
    cleared away by the next. After an error ``out`` is as it was.

    Args:
        out: results folder, made when missing, with its parents.

    Raises:
        InputError: ``out`` is a file, holds something else than one earlier result of the same series, is being
            written by another run, or cannot be written to.
    """
    out = Path(os.path.realpath(out))
    with _told_places(out):
        made = _make_parents(out.parent)
        for home in (out.parent, out):  # what is a mount point in a container is none on its host
            _clear_killed_runs(out, home)
        check_output(out)
        inside = out.is_dir() and not _is_replaceable(out)
        stage = (out if inside else out.parent) / f"{_staging(out)}{uuid.uuid4().hex}"
        stage.mkdir()
    try:
        lock = os.open(stage, os.O_RDONLY)  # held by the kernel for as long as this process lives
        try:
            with suppress(OSError):  # a network file system without locks: another run at the same time goes unseen
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield stage
            with _told_places(out):
                check_output(out, _read_manifest(stage)["series"]["uid"])
                (_fill if inside else _replace)(stage, out)
        finally:
            os.close(lock)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for folder in made:  # innermost first; one that is in use stays
            with suppress(OSError):
                folder.rmdir()


def write_manifest(stage: Path, content: dict[str, Any]) -> Path:
    """Write ``results.json``: ``content`` and every file of ``stage`` with its SHA-256.

    Args:
        stage: what :func:`staged_results` yielded, all results in it.
        content: JSON-ready; ``content["series"]["uid"]`` names the series that the results are about.
    """
    files = sorted(path for path in stage.rglob("*") if path.is_file())
    listed = [{"file": path.relative_to(stage).as_posix(), "sha256": sha256_of(path)} for path in files]
    manifest = {"made_by": _MADE_BY, **content, "files": listed}
    path = stage / MANIFEST
    path.write_text(json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return path


def check_output(out: Path, series_uid: str | None = None) -> None:
    """Refuse a results folder that holds anything else than one earlier result.

    Args:
        out: need not exist.
        series_uid: the earlier result must be about this series; None = about any.

    Raises:
        InputError: telling what is in the way.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the results")
    found = {path for path in out.rglob("*") if not path.is_dir() and not _is_staged(path, out)}
    if not found:
        return
    try:
        manifest = _read_manifest(out)
        known = {out / entry["file"] for entry in manifest["files"]} | {out / MANIFEST}
        series = manifest["series"]["uid"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{out} is not empty and holds no earlier results of this program; name an empty or a new folder"
        ) from None
    if not found <= known:
        strange = min(found - known).relative_to(out)
        raise InputError(
            f"{out} holds {strange}, which is not part of the results there; move it away or name another folder"
        )
    if series_uid not in (None, series):
        raise InputError(f"{out} holds the results of another series; name another folder")


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if manifest["made_by"] != _MADE_BY:
        raise ValueError("not a manifest of this program")
    return manifest


def _replace(stage: Path, out: Path) -> None:
    if not out.exists():
        os.rename(stage, out)
        return
    shutil.copymode(out, stage)
    old = stage.with_name(f"{stage.name}.old")
    os.rename(out, old)
    try:
        os.rename(stage, out)
    except OSError:
        os.rename(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _fill(stage: Path, out: Path) -> None:
    """Move what is staged into ``out``, which counts as complete when the manifest arrives."""
    if (out / MANIFEST).exists():
        earlier = _entries(_read_manifest(out))
        (out / MANIFEST).unlink()
        _remove(out, earlier)
    # Until the manifest has moved, the one in the staging folder tells the next run that ``out`` is unfinished.
    for entry in sorted(stage.iterdir(), key=lambda path: path.name == MANIFEST):
        os.rename(entry, out / entry.name)


def _clear_killed_runs(out: Path, home: Path) -> None:
    """Remove what runs that were killed left in ``home``: staging folders, and entries that ``out`` had received."""
    for stage in home.glob(f"{glob.escape(_staging(out))}*"):
        lock = os.open(stage, os.O_RDONLY)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"another run is writing to {out}; wait for it or name another folder") from None
            except OSError:  # no locks here; a staging folder is then taken for a killed run's
                pass
            if home == out and (stage / MANIFEST).is_file() and not (out / MANIFEST).exists():
                _remove(out, _entries(_read_manifest(stage)))
            shutil.rmtree(stage)
        finally:
            os.close(lock)


def _entries(manifest: dict[str, Any]) -> set[str]:
    """Names of the files and folders directly in a results folder, the manifest apart."""
    return {Path(entry["file"]).parts[0] for entry in manifest["files"]}


def _remove(folder: Path, names: set[str]) -> None:
    for entry in (folder / name for name in names):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def _staging(out: Path) -> str:
    return f".{out.name}.lesion-app-"


def _is_staged(path: Path, out: Path) -> bool:
    return path.relative_to(out).parts[0].startswith(_staging(out))


def _is_replaceable(out: Path) -> bool:
    """Whether another folder can be renamed over this one."""
    return os.access(out.parent, os.W_OK) and not _is_mount_point(out)


def _is_mount_point(path: Path) -> bool:
    if os.path.ismount(path):
        return True
    with suppress(OSError):  # a bind mount within one file system shows in this list only
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        points = (line.split()[4] for line in lines)
        return str(path) in {p.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\") for p in points}
    return False


def _make_parents(folder: Path) -> list[Path]:
    """Make ``folder`` and return what was made, innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


@contextmanager
def _told_places(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.EEXIST):
            raise
        raise InputError(
            f"results cannot be written to {out} ({error.strerror}); name a folder you may write to"
        ) from error
