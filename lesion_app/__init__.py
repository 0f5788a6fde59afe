"""Universal lesion detection in CT from incompletely annotated data."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["InputError", "detect"]


def __getattr__(name: str) -> Any:
    # Looked up late: importing the package must stay cheap and free of torch for the command line's --help.
    if name == "detect":
        from lesion_app.inferers.detect import detect

        return detect
    if name == "InputError":
        from lesion_app.errors import InputError

        return InputError
    raise AttributeError(f"module 'lesion_app' has no attribute {name!r}")
