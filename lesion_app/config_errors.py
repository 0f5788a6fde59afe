"""Errors of a bundle's config told in one sentence."""

from __future__ import annotations

import atexit
import difflib
import errno
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import PurePath
from types import TracebackType
from typing import Any

from lesion_app.errors import InputError, input_error_in

_UNUSABLE_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.EISDIR)
_UNDEFINED = re.compile(r"the referring item `@(?P<name>.+)` is not defined")


def explain(error: BaseException) -> InputError | None:
    """The user's mistake behind ``error``, or None when it is a fault of the program.

    Mistakes are: an ``InputError`` anywhere in the chain of causes; what MONAI's config parser says about
    references, classes, arguments and expressions; values that a component's constructor refuses; unreadable
    JSON; a file or folder that cannot be written to.
    """
    known = input_error_in(error)
    if known is not None:
        return known
    chain = _causes(error)
    root = chain[-1]
    if isinstance(root, json.JSONDecodeError) and "load_config_file" in _functions(root):
        return InputError(
            f"a config file is not valid JSON: {root.msg} at line {root.lineno}, column {root.colno}; mend the "
            "file there (a missing comma or bracket, as a rule)"
        )
    if isinstance(root, OSError) and root.errno in _UNUSABLE_PLACE:
        return InputError(f"{root.filename or 'a file'} cannot be used ({root.strerror}); name another place")
    told = _config_fault(chain)
    return None if told is None else InputError(f"the config cannot be used: {told}")


def check_overrides(overrides: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Refuse overrides of keys the config does not have, which MONAI would take and change nothing.

    Args:
        overrides: values by id (``"mean_teacher#policy"``). New arguments of a component are left to its
            signature; a number or a switch must stay one (an expression, a reference or null may replace it).
        config: the merged config.

    Raises:
        InputError: naming the key and the nearest known ones.
    """
    for key, value in overrides.items():
        here: Any = config
        path = ""
        for name in key.replace("::", "#").split("#"):
            if isinstance(here, Mapping) and "_target_" in here and name not in here:
                here = None  # the component's signature tells whether it knows the argument
            if here is None or isinstance(here, str):
                break  # an expression or a reference: what it leads to is not known yet
            known = _names(here)
            if name not in known:
                near = [path + n for n in difflib.get_close_matches(name, sorted(known), n=3)]
                hint = f"did you mean {' or '.join(near)}?" if near else "see bundle/configs for the names"
                raise InputError(f"the config has no key '{path}{name}' to override; {hint}")
            here, path = (here[int(name)] if isinstance(here, list) else here[name]), f"{path}{name}#"
        else:
            _check_kind(key, here, value)


def check_overlay(overlay: Mapping[str, Any], base: Mapping[str, Any], merged: Mapping[str, Any], name: str) -> None:
    """Refuse an overlay's mistyped key, which MONAI would add beside the one that was meant.

    A key is taken for mistyped when the configs before it have none of that name but one much like it, and
    nothing refers to it.

    Args:
        overlay, base: content of the overlay, and of the configs merged before it.
        merged: everything, to look for references in.
        name: of the overlay's file.

    Raises:
        InputError: naming the key and the one that may be meant.
    """
    text = json.dumps(merged)
    for key in overlay:
        top = key.removeprefix("+").replace("::", "#").split("#")[0]
        near = difflib.get_close_matches(top, base, n=1, cutoff=0.8)
        if top not in base and near and not re.search(rf"[@%]{re.escape(top)}\b", text):
            raise InputError(f"{name} sets '{top}', which no config uses; did you mean '{near[0]}'?")


def exit_on_input_errors() -> None:
    """From now on an uncaught mistake of the user ends the program with one line and exit code 2.

    For ``python -m monai.bundle run``, which would print a traceback, and MONAI's ``StatsHandler``, which would log
    it before. Other errors show as before.
    """
    logging.getLogger("monai.handlers.StatsHandler").addFilter(_is_worth_logging)
    before = sys.excepthook
    if getattr(before, "explains_input_errors", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        mistake = explain(error)
        if mistake is None:
            before(kind, error, trace)
            return
        print(f"error: {mistake}", file=sys.stderr, flush=True)
        # The interpreter would exit with 1 after an excepthook; run what is due at exit, then say 2.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(2)

    hook.explains_input_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _is_worth_logging(record: logging.LogRecord) -> bool:
    return not (record.exc_info and record.exc_info[1] is not None and input_error_in(record.exc_info[1]))


def _causes(error: BaseException) -> list[BaseException]:
    """``error`` and what it was raised from, the root last."""
    chain = [error]
    while chain[-1].__cause__ is not None and chain[-1].__cause__ not in chain:
        chain.append(chain[-1].__cause__)
    return chain


def _config_fault(chain: list[BaseException]) -> str | None:
    """What MONAI's config parser found wrong, or None when the error arose in a program that the config runs."""
    frames = traceback.extract_tb(chain[0].__traceback__)
    root = chain[-1]
    if isinstance(root, SyntaxError) and root.filename in ("<unknown>", "<string>"):
        return f"the expression '${(root.text or '').strip()}' is not Python ({root.msg}); mend it"
    if not frames or not _is_config_machinery(frames[-1].filename):
        return None
    for error in chain:
        undefined = _UNDEFINED.search(str(error))
        if undefined:
            name = undefined["name"].replace("::", "#")
            return f"it refers to '@{name}', which is not defined; mend that name in the config files or overrides"
    text = " ".join(str(root.args[0] if root.args else root).split()).rstrip(".")
    inner = traceback.extract_tb(root.__traceback__)
    places = [i for i, frame in enumerate(inner) if _is_config_machinery(frame.filename)]
    beyond = inner[places[-1] + 1 :] if places else inner
    if not beyond:
        return f"{text}; check the names in the config files and overrides"
    if beyond[-1].filename == "<string>":
        expression = " ".join(str(chain[-2]).split()).removeprefix("Failed to evaluate ConfigExpression: ")
        return f"the expression {expression} failed with {type(root).__name__}: {text}; mend it"
    refused = isinstance(root, (ValueError, TypeError)) and beyond[0].name == "__init__"
    return f"{text}; check the values in the config files and overrides" if refused else None


def _functions(error: BaseException) -> list[str]:
    """Functions that ``error`` came through, the one that raised it last."""
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def _is_config_machinery(filename: str) -> bool:
    parts = PurePath(filename).parts
    return "monai" in parts and ("bundle" in parts or parts[-2:] == ("utils", "module.py"))


def _names(here: Any) -> list[str]:
    if isinstance(here, Mapping):
        return [str(name) for name in here]
    return [str(i) for i in range(len(here))] if isinstance(here, list) else []


def _check_kind(key: str, old: Any, new: Any) -> None:
    if new is None or (isinstance(new, str) and new[:1] in ("$", "@", "%")):
        return
    number = isinstance(old, (int, float)) and not isinstance(old, bool)
    if isinstance(old, bool) and not isinstance(new, bool):
        raise InputError(f"{key} was given {new!r}, expected true or false")
    if number and (isinstance(new, bool) or not isinstance(new, (int, float))):
        raise InputError(f"{key} was given {new!r}, expected a number like {old}")
