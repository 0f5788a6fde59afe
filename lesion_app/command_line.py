"""Commands of ``lesion-app`` as text, to tell a user what comes next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path


def command_line(
    verb: str, configs: Sequence[str | Path] = (), settings: Sequence[str] = (), bundle: Path | None = None
) -> str:
    """``lesion-app VERB --config ... --set ... --bundle ...``, quoted for a shell.

    Args:
        verb: of ``lesion-app``.
        configs: overlays by name or file.
        settings: ``KEY=VALUE``.
        bundle: folder of the bundle; None leaves it out.
    """
    options = {"--config": configs, "--set": settings, "--bundle": [] if bundle is None else [bundle]}
    words = [f"{option} {shlex.quote(str(value))}" for option, values in options.items() for value in values]
    return " ".join(["lesion-app", verb, *words])
