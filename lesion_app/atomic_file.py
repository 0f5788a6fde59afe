"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden sibling of ``path`` to write to; it takes ``path``'s place when the block ends without an error.

    A kill at any moment leaves the old file or the new one. The folder is made when missing.

    Raises:
        OSError: when the folder or the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, only_empty: bool = False) -> Iterator[Path]:
    """Yield a new hidden sibling folder of ``path``; it takes ``path``'s place when the block ends without an error.

    Args:
        path: the folder, old content and all.
        only_empty: refuse to replace a folder that holds something by then.

    Raises:
        OSError: when the folder cannot be written, or holds something and must not.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        temporary.mkdir()
        yield temporary
        if path.exists():
            (os.rmdir if only_empty else shutil.rmtree)(path)
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
