"""Errors of a bundle's config told in one sentence."""

from __future__ import annotations

import atexit
import difflib
import json
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import PurePath
from types import TracebackType

from lesion_app.errors import InputError, input_error_in


def explain(error: BaseException) -> InputError | None:
    """The user's mistake behind ``error``, or None when it is a fault of the program.

    An ``InputError`` anywhere in the chain of causes counts, and so does what MONAI's config parser raises
    itself: unknown references, classes, arguments, unreadable JSON.
    """
    known = input_error_in(error)
    if known is not None:
        return known
    if isinstance(error, json.JSONDecodeError):
        return InputError(
            f"a config file is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}; mend the "
            "file there (a missing comma or bracket, as a rule)"
        )
    if isinstance(
        error, (ValueError, KeyError, TypeError, RuntimeError, ImportError, AttributeError, FileNotFoundError)
    ):
        frames = traceback.extract_tb(error.__traceback__)
        if frames and _is_config_machinery(frames[-1].filename):
            root: BaseException = error
            while root.__cause__ is not None:
                root = root.__cause__
            if not _is_about_values(root):
                return None
            text = " ".join(str(root.args[0] if root.args else root).split()).rstrip(".")
            return InputError(f"the config cannot be used: {text}; check the names in the config files and overrides")
    return None


def check_overrides(overrides: Iterable[str], known: Iterable[str]) -> None:
    """Refuse overrides of keys the config does not have; MONAI would take them and change nothing.

    Raises:
        InputError: naming the key and the nearest known ones.
    """
    top = sorted(known)
    for key in overrides:
        name = key.replace("::", "#").split("#")[0]
        if name not in top:
            near = difflib.get_close_matches(name, top, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "see bundle/configs for the names"
            raise InputError(f"the config has no key '{name}' to override; {hint}")


def exit_on_input_errors() -> None:
    """From now on an uncaught mistake of the user ends the program with one line and exit code 2.

    For ``python -m monai.bundle run``, which would print a traceback. Other errors show as before.
    """
    before = sys.excepthook
    if getattr(before, "explains_input_errors", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        mistake = explain(error)
        if mistake is None:
            before(kind, error, trace)
            return
        print(f"error: {mistake}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        # The interpreter would exit with 1 after an excepthook; run what is due at exit, then say 2.
        atexit._run_exitfuncs()
        os._exit(2)

    hook.explains_input_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _is_about_values(root: BaseException) -> bool:
    """Whether a class of ours or MONAI's refused its arguments, rather than broke while it was built."""
    frames = traceback.extract_tb(root.__traceback__)
    entered = not _is_config_machinery(frames[-1].filename) if frames else False
    return isinstance(root, ValueError) or not entered


def _is_config_machinery(filename: str) -> bool:
    parts = PurePath(filename).parts
    return "monai" in parts and ("bundle" in parts or parts[-2:] == ("utils", "module.py"))
