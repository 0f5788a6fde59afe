"""The configs of a study's runs, and mistakes in ``--set`` told before anything is done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lesion_app.bundle_run import config_paths, find_bundle
from lesion_app.config_errors import check_overrides


def merged_configs(names: Sequence[str], shared: Mapping[str, Any]) -> dict[str, Any]:
    """The bundle's configs ``names``, merged in order, with the values of ``--set``.

    A study writes these values into an overlay, which may add keys; so they are checked here, as a command's own are.

    Raises:
        InputError: a key that none of the configs has, or a value of another kind.
    """
    merged: dict[str, Any] = {}
    for path in config_paths(find_bundle(), names):
        merged.update(json.loads(Path(path).read_text()))
    check_overrides(shared, merged)
    return {**merged, **shared}
