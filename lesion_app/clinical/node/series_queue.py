"""The durable queue: which state each received series is in, and the moves between states."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from lesion_app.clinical.node.job import FINAL, OPEN, Job, Result
from lesion_app.clinical.node.log import series_hash
from lesion_app.clinical.node.queue_database import QueueDatabase
from lesion_app.errors import InputError


class SeriesQueue:
    """``received -> ready -> running -> staged -> stored -> done``, or ``refused``, or ``failed``.

    Every method is one transaction; a kill between any two of them loses nothing and doubles nothing.
    Times are seconds since the epoch and handed in.
    """

    def __init__(self, file: Path) -> None:
        self.database = QueueDatabase(file)

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    # Receiving

    def holds(self, series_uid: str, sop_uid: str) -> bool:
        """Whether this image is kept."""
        sql = "SELECT 1 FROM instances WHERE series_uid = ? AND sop_uid = ?"
        return bool(self.database.rows(sql, series_uid, sop_uid))

    def add(self, series_uid: str, sop_uid: str, size: int, now: float) -> bool:
        """Record an image; False when it was known, which changes nothing."""
        with self.database.transaction() as db:
            values = (series_uid, sop_uid, size)
            if db.execute("INSERT OR IGNORE INTO instances VALUES (?, ?, ?)", values).rowcount == 0:
                return False
            db.execute("DELETE FROM turned_away WHERE series_uid = ? AND sop_uid = ?", (series_uid, sop_uid))
            self._reopen(db, series_uid, now)
        return True

    def turn_away(self, series_uid: str, sop_uid: str, now: float) -> None:
        """Record that there was no room for an image: its series must not be run without it."""
        with self.database.transaction() as db:
            values = (series_uid, sop_uid)
            if db.execute("INSERT OR IGNORE INTO turned_away VALUES (?, ?)", values).rowcount:
                self._reopen(db, series_uid, now)

    @staticmethod
    def _reopen(db: sqlite3.Connection, series_uid: str, now: float) -> None:
        """The series has changed: wait again; once its results are final, as a new generation."""
        sql = "SELECT * FROM jobs WHERE series_uid = ? ORDER BY generation DESC LIMIT 1"
        latest = db.execute(sql, (series_uid,)).fetchone()
        if latest is not None and latest["state"] in OPEN:
            db.execute(
                "UPDATE jobs SET state = 'received', reason = NULL, run = NULL, attempts = 0, next_try = 0, "
                "hold_until = 0, last_instance = ?1, changed = ?1 WHERE id = ?2",
                (now, latest["id"]),
            )
        else:
            generation, expected = (latest["generation"] + 1, latest["expected"]) if latest else (1, 0)
            db.execute(
                "INSERT INTO jobs (series_uid, series_hash, generation, state, expected, last_instance, changed) "
                "VALUES (?1, ?2, ?3, 'received', ?4, ?5, ?5)",
                (series_uid, series_hash(series_uid), generation, expected, now),
            )

    def hold(self, until: float, series_uids: Iterable[str] | None = None) -> None:
        """The transfer of these series (None: of all) was cut off: not complete before ``until``, or the next image."""
        sql = "UPDATE jobs SET hold_until = ? WHERE state = 'received'"
        with self.database.transaction() as db:
            if series_uids is None:
                db.execute(sql, (until,))
            for series_uid in series_uids or ():
                db.execute(f"{sql} AND series_uid = ?", (until, series_uid))

    def close_quiet(self, now: float, quiet_s: float) -> list[Job]:
        """Move the series that received nothing for ``quiet_s`` on to ``ready``, or ``refused`` when images lack.

        What is held (:meth:`hold`) stays ``received``.
        """
        moved = []
        with self.database.transaction() as db:
            sql = "SELECT * FROM jobs WHERE state = 'received' AND last_instance <= ? AND hold_until <= ? ORDER BY id"
            for row in db.execute(sql, (now - quiet_s, now)).fetchall():
                images, absent = (
                    db.execute(f"SELECT count(*) FROM {table} WHERE series_uid = ?", (row["series_uid"],)).fetchone()[0]
                    for table in ("instances", "turned_away")
                )
                state, reason = "ready", None
                if absent:
                    state = "refused"
                    reason = f"{absent} images found no room on the disk; make room and send the series again"
                elif images < row["expected"]:
                    state = "refused"
                    reason = (
                        f"{images} images came after the series' {row['expected']} had been removed; "
                        "send the whole series again"
                    )
                db.execute(
                    "UPDATE jobs SET state = ?, reason = ?, images = ?, changed = ? WHERE id = ?",
                    (state, reason, images, now, row["id"]),
                )
                moved.append(self._job(db, row["id"]))
        return moved

    # Running

    def claim(self, token: str, now: float) -> tuple[Job, list[str]] | None:
        """The oldest ready series, now ``running`` as ``token``, and the SOP instance UIDs of its images."""
        with self.database.transaction() as db:
            sql = "SELECT * FROM jobs WHERE state = 'ready' AND next_try <= ? ORDER BY id LIMIT 1"
            row = db.execute(sql, (now,)).fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE jobs SET state = 'running', run = ?, attempts = attempts + 1, changed = ? WHERE id = ?",
                (token, now, row["id"]),
            )
            sql = "SELECT sop_uid FROM instances WHERE series_uid = ? ORDER BY sop_uid"
            uids = [one["sop_uid"] for one in db.execute(sql, (row["series_uid"],))]
            return self._job(db, row["id"]), uids

    def runs(self, job: Job) -> bool:
        """Whether ``job`` is still the run under way; not once another image has arrived."""
        sql = "SELECT 1 FROM jobs WHERE id = ? AND state = 'running' AND run = ?"
        return bool(self.database.rows(sql, job.id, job.run))

    def stage(self, job: Job, results: Sequence[Result], now: float) -> bool:
        """Make the results of a run final; False when the run has been superseded."""
        with self.database.transaction() as db:
            if not self._end_run(db, job, "staged", None, now, keep_run=True):
                return False
            db.executemany(
                "INSERT INTO results (job, sop_uid, file, bytes) VALUES (?, ?, ?, ?)",
                [(job.id, one.sop_uid, one.file, one.bytes) for one in results],
            )
        return True

    def end_run(self, job: Job, state: str, reason: str | None, now: float) -> bool:
        """A run without results: ``refused`` or ``failed``; False when the run has been superseded."""
        with self.database.transaction() as db:
            return self._end_run(db, job, state, reason, now)

    def run_again(self, job: Job, reason: str | None, now: float, delay_s: float, *, counted: bool = True) -> bool:
        """Back to ``ready``, to be run again after ``delay_s``; ``counted`` as an attempt or not."""
        with self.database.transaction() as db:
            if not self._end_run(db, job, "ready", reason, now):
                return False
            db.execute(
                "UPDATE jobs SET next_try = ?, attempts = attempts - ? WHERE id = ?",
                (now + delay_s, 0 if counted else 1, job.id),
            )
        return True

    @staticmethod
    def _end_run(
        db: sqlite3.Connection, job: Job, state: str, reason: str | None, now: float, *, keep_run: bool = False
    ) -> bool:
        sql = (
            "UPDATE jobs SET state = ?, reason = ?, run = ?, changed = ? WHERE id = ? AND state = 'running' AND run = ?"
        )
        values = (state, reason, job.run if keep_run else None, now, job.id, job.run)
        return db.execute(sql, values).rowcount == 1

    # Delivering

    def next_delivery(self, now: float) -> Job | None:
        """The oldest staged series that is due; a later generation waits for the earlier one."""
        rows = self.database.rows(
            "SELECT * FROM jobs AS job WHERE state IN ('staged', 'stored') AND next_try <= ? AND NOT EXISTS ("
            "  SELECT 1 FROM jobs WHERE series_uid = job.series_uid AND generation < job.generation"
            "  AND state IN ('staged', 'stored')) ORDER BY id LIMIT 1",
            now,
        )
        return Job.of(rows[0]) if rows else None

    def undelivered(self, job: Job) -> list[Result]:
        """Results that the PACS has not confirmed yet."""
        sql = "SELECT sop_uid, file, bytes FROM results WHERE job = ? AND delivered = 0 ORDER BY file"
        return [Result(*row) for row in self.database.rows(sql, job.id)]

    def confirm(self, job: Job, sop_uid: str) -> None:
        """The PACS holds this result."""
        with self.database.transaction() as db:
            db.execute("UPDATE results SET delivered = 1 WHERE job = ? AND sop_uid = ?", (job.id, sop_uid))

    def stored(self, job: Job, now: float) -> None:
        """The PACS holds all results; what is left is to tidy up.

        Raises:
            RuntimeError: when it does not.
        """
        if self.undelivered(job):
            raise RuntimeError("a series was called stored before the PACS had confirmed all of its results")
        self._set(job, "stored", None, now)

    def done(self, job: Job, now: float) -> None:
        """Everything is over; the results' files are gone."""
        with self.database.transaction() as db:
            db.execute("DELETE FROM results WHERE job = ?", (job.id,))
            db.execute("UPDATE jobs SET state = 'done', run = NULL, changed = ? WHERE id = ?", (now, job.id))

    def postpone(self, job: Job, reason: str, now: float, delay_s: float) -> None:
        """The PACS refused a result: try again after ``delay_s``."""
        with self.database.transaction() as db:
            db.execute(
                "UPDATE jobs SET deliveries = deliveries + 1, reason = ?, next_try = ?, changed = ? WHERE id = ?",
                (reason, now + delay_s, now, job.id),
            )

    def give_up_delivery(self, job: Job, reason: str, now: float) -> None:
        """``failed``; the results are kept for a requeue."""
        self._set(job, "failed", reason, now)

    def _set(self, job: Job, state: str, reason: str | None, now: float) -> None:
        with self.database.transaction() as db:
            db.execute("UPDATE jobs SET state = ?, reason = ?, changed = ? WHERE id = ?", (state, reason, now, job.id))

    @staticmethod
    def _job(db: sqlite3.Connection, identity: int) -> Job:
        return Job.of(db.execute("SELECT * FROM jobs WHERE id = ?", (identity,)).fetchone())

    # Mending

    def recover(self, now: float, interruptions: int) -> None:
        """After a start nothing runs any more: what did is ready again, or failed after ``interruptions`` times."""
        with self.database.transaction() as db:
            db.execute(
                "UPDATE jobs SET state = 'failed', run = NULL, changed = ?, reason = ? "
                "WHERE state = 'running' AND interruptions + 1 >= ?",
                (now, f"the node ended {interruptions} times while this series was run", interruptions),
            )
            db.execute(
                "UPDATE jobs SET state = 'ready', run = NULL, changed = ?, interruptions = interruptions + 1, "
                "attempts = attempts - 1 WHERE state = 'running'",
                (now,),
            )

    def requeue(self, job: Job, now: float) -> str:
        """Take a finished series up again; the state it goes on from: ``staged`` or ``received``.

        Raises:
            InputError: when it is not finished, or its images have been removed.
        """
        with self.database.transaction() as db:
            found = self._job(db, job.id)
            sql = "SELECT max(generation) FROM jobs WHERE series_uid = ?"
            latest = db.execute(sql, (job.series_uid,)).fetchone()[0]
            if found.state not in FINAL or found.generation != latest:
                raise InputError(
                    f"{found} is {found.state} and not the last word; only finished series can be requeued"
                )
            if db.execute("SELECT 1 FROM results WHERE job = ?", (job.id,)).fetchone():
                state = "staged"
            elif db.execute("SELECT 1 FROM instances WHERE series_uid = ?", (job.series_uid,)).fetchone():
                state = "received"
            else:
                raise InputError(f"the images of {found} have been removed; send the series again from the PACS")
            db.execute(
                "UPDATE jobs SET state = ?, reason = NULL, attempts = 0, interruptions = 0, deliveries = 0, "
                "next_try = 0, last_instance = 0, hold_until = 0, changed = ? WHERE id = ?",
                (state, now, job.id),
            )
        return state
