"""A series in the queue, its states and its results."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

OPEN = ("received", "ready", "running")
FINAL = ("done", "refused", "failed")
STATES = (*OPEN, "staged", "stored", *FINAL)


@dataclass(frozen=True)
class Job:
    """One generation of a series.

    ``run`` names the folder of the run that is under way or whose results are staged; ``attempts``, ``interruptions``
    and ``deliveries`` count what happened so far; ``expected`` is the least number of images to run on.
    """

    id: int
    series_uid: str
    series_hash: str
    generation: int
    state: str
    reason: str | None
    images: int
    expected: int
    attempts: int
    interruptions: int
    deliveries: int
    run: str | None

    @classmethod
    def of(cls, row: sqlite3.Row) -> Job:
        """From a row of ``jobs``."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})

    def __str__(self) -> str:
        return f"series {self.series_hash} generation {self.generation}"


@dataclass(frozen=True)
class Result:
    """One DICOM file to deliver: ``file`` is relative to the output folder of the run."""

    sop_uid: str
    file: str
    bytes: int
