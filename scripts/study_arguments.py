"""Arguments that all studies have, and what their numbers may be."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def study_parser(
    description: str | None,
    scales: Iterable[str],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    seeded: str = "data and training",
    what: str = "study",
    runs: str = "arms",
) -> argparse.ArgumentParser:
    """A parser with ``--scale``, ``--out``, ``--seeds``, ``--jobs`` and ``--threads``; a study adds its own.

    Args:
        description: the program's docstring, shown as it is written.
        scales: names to choose from, among them ``cpu``.
        seeds: those run by default.
        seeded: what the seeds are of.
        what: is made in ``--out``.
        runs: what ``--jobs`` counts, in the plural.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=sorted(scales), default="cpu")
    parser.add_argument("--out", type=Path, required=True, help=f"folder of the {what}; the same one to go on")
    parser.add_argument("--seeds", type=from_zero, nargs="+", action=EachOnce, default=list(seeds), help=f"of {seeded}")
    parser.add_argument("--jobs", type=from_one, default=2, help=f"{runs} at a time")
    parser.add_argument("--threads", type=from_one, default=1, help=f"CPU threads of each of the {runs}")
    return parser


class EachOnce(argparse.Action):
    """Keeps the first of equal values: two processes of one run would write into one folder."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, list(dict.fromkeys(values)))


def from_one(text: str) -> int:
    """Type of an argument that counts something: a whole number from 1 on; argparse tells what is wrong with others."""
    return _whole_number(text, 1)


def from_zero(text: str) -> int:
    """Type of an argument that is a seed: a whole number from 0 on; as `from_one`."""
    return _whole_number(text, 0)


def _whole_number(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"was given '{text}'; expected a whole number from {least} on")
    return number
