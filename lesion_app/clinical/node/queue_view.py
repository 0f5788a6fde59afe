"""What can be asked about a queue without changing it, and what is removed from it when its time is over."""

from __future__ import annotations

from dataclasses import dataclass

from lesion_app.clinical.node.job import FINAL, STATES, Job
from lesion_app.clinical.node.series_queue import SeriesQueue


@dataclass(frozen=True)
class SeriesLine:
    """One line of the status page; ``changed`` in seconds since the epoch."""

    series: str
    generation: int
    state: str
    reason: str | None
    images: int
    changed: float


def counts(queue: SeriesQueue) -> dict[str, int]:
    """Number of series (generations) in each state."""
    found = {row["state"]: row["n"] for row in queue.database.rows("SELECT state, count(*) n FROM jobs GROUP BY state")}
    return {state: found.get(state, 0) for state in STATES}


def held_bytes(queue: SeriesQueue) -> int:
    """Bytes of all images and results that are kept."""
    return int(queue.database.rows("SELECT bytes FROM held")[0]["bytes"])


def recent(queue: SeriesQueue, limit: int = 100) -> list[SeriesLine]:
    """The series that changed last, latest first."""
    rows = queue.database.rows(
        "SELECT series_hash, generation, state, reason, changed, CASE WHEN state = 'received' THEN ("
        "  SELECT count(*) FROM instances WHERE series_uid = jobs.series_uid) ELSE images END AS images "
        "FROM jobs ORDER BY changed DESC, id DESC LIMIT ?",
        limit,
    )
    names = ("series_hash", "generation", "state", "reason", "images", "changed")
    return [SeriesLine(*(row[name] for name in names)) for row in rows]


def find(queue: SeriesQueue, *, series: str | None = None, state: str | None = None) -> list[Job]:
    """The last generation of each series whose hash starts with ``series`` and that is in ``state``."""
    rows = queue.database.rows(
        "SELECT * FROM jobs WHERE substr(series_hash, 1, length(?1)) = ?1 AND (?2 IS NULL OR state = ?2) "
        "AND generation = (SELECT max(generation) FROM jobs AS other WHERE other.series_uid = jobs.series_uid) "
        "ORDER BY id",
        series or "",
        state,
    )
    return [Job.of(row) for row in rows]


def known_instances(queue: SeriesQueue) -> list[tuple[str, str]]:
    """(series UID, SOP instance UID) of every image that is kept."""
    return [tuple(row) for row in queue.database.rows("SELECT series_uid, sop_uid FROM instances")]


def known_runs(queue: SeriesQueue) -> list[str]:
    """Tokens of the runs whose folders are needed."""
    return [row["run"] for row in queue.database.rows("SELECT run FROM jobs WHERE run IS NOT NULL")]


def removable(queue: SeriesQueue, before: float, before_failed: float, limit: int = 100) -> list[str]:
    """UIDs of series that hold files and are over: since ``before``, or ``before_failed`` where something failed.

    Oldest first; times in seconds since the epoch.
    """
    final = ", ".join(f"'{state}'" for state in FINAL)
    rows = queue.database.rows(
        f"SELECT series_uid FROM jobs GROUP BY series_uid HAVING min(state IN ({final})) "
        "AND max(changed) <= CASE WHEN max(state = 'failed') THEN ?2 ELSE ?1 END "
        "AND (EXISTS (SELECT 1 FROM instances WHERE instances.series_uid = jobs.series_uid) OR max(run IS NOT NULL) "
        "  OR EXISTS (SELECT 1 FROM turned_away WHERE turned_away.series_uid = jobs.series_uid)) "
        "ORDER BY max(changed) LIMIT ?3",
        before,
        before_failed,
        limit,
    )
    return [row["series_uid"] for row in rows]


def forget_files(queue: SeriesQueue, series_uid: str) -> list[str] | None:
    """Forget images and results of a series that is over; its state stays. The tokens of runs to remove.

    Later generations are then run only on at least as many images: a straggler must not pass for the series. None, and
    nothing forgotten, when the series is no longer over.
    """
    with queue.database.transaction() as db:
        jobs = db.execute("SELECT * FROM jobs WHERE series_uid = ? ORDER BY generation", (series_uid,)).fetchall()
        if any(row["state"] not in FINAL for row in jobs):
            return None
        images = sum(
            db.execute(f"SELECT count(*) FROM {table} WHERE series_uid = ?", (series_uid,)).fetchone()[0]
            for table in ("instances", "turned_away")
        )
        for table in ("instances", "turned_away"):
            db.execute(f"DELETE FROM {table} WHERE series_uid = ?", (series_uid,))
        db.execute("UPDATE jobs SET expected = max(expected, ?) WHERE id = ?", (images, jobs[-1]["id"]))
        db.execute("DELETE FROM results WHERE job IN (SELECT id FROM jobs WHERE series_uid = ?)", (series_uid,))
        db.execute("UPDATE jobs SET run = NULL WHERE series_uid = ?", (series_uid,))
    return [row["run"] for row in jobs if row["run"]]
