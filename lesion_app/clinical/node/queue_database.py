"""The SQLite file behind the queue: schema, durability, one transaction at a time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lesion_app.errors import InputError

VERSION = 1
# `jobs` has one row per generation of a series: the images known when it was complete. A generation is in exactly
# one state. Triggers keep the sum of bytes, which is asked for with every image that arrives.
_SCHEMA = """
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY,
  series_uid TEXT NOT NULL,
  series_hash TEXT NOT NULL,
  generation INTEGER NOT NULL,
  state TEXT NOT NULL
    CHECK (state IN ('received', 'ready', 'running', 'staged', 'stored', 'done', 'refused', 'failed')),
  reason TEXT,
  images INTEGER NOT NULL DEFAULT 0,
  expected INTEGER NOT NULL DEFAULT 0,
  last_instance REAL NOT NULL,
  hold_until REAL NOT NULL DEFAULT 0,
  changed REAL NOT NULL,
  next_try REAL NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  interruptions INTEGER NOT NULL DEFAULT 0,
  deliveries INTEGER NOT NULL DEFAULT 0,
  run TEXT,
  UNIQUE (series_uid, generation)
);
CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE TABLE instances (
  series_uid TEXT NOT NULL, sop_uid TEXT NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (series_uid, sop_uid)
) WITHOUT ROWID;
CREATE TABLE turned_away (
  series_uid TEXT NOT NULL, sop_uid TEXT NOT NULL, PRIMARY KEY (series_uid, sop_uid)
) WITHOUT ROWID;
CREATE TABLE results (
  job INTEGER NOT NULL, sop_uid TEXT NOT NULL, file TEXT NOT NULL, bytes INTEGER NOT NULL,
  delivered INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (job, sop_uid)
) WITHOUT ROWID;
CREATE TABLE held (bytes INTEGER NOT NULL);
INSERT INTO held VALUES (0);
CREATE TRIGGER image_in AFTER INSERT ON instances BEGIN UPDATE held SET bytes = bytes + NEW.bytes; END;
CREATE TRIGGER image_out AFTER DELETE ON instances BEGIN UPDATE held SET bytes = bytes - OLD.bytes; END;
CREATE TRIGGER result_in AFTER INSERT ON results BEGIN UPDATE held SET bytes = bytes + NEW.bytes; END;
CREATE TRIGGER result_out AFTER DELETE ON results BEGIN UPDATE held SET bytes = bytes - OLD.bytes; END;
"""


class QueueDatabase:
    """One connection, shared by the node's threads under a lock.

    Raises:
        InputError: when the file is no queue of this version.
    """

    def __init__(self, file: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(file, timeout=30.0, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            # A C-STORE is answered with success after the commit: it must outlive a power cut too.
            self._connection.execute("PRAGMA synchronous = FULL")
            with self.transaction() as database:
                found = database.execute("PRAGMA user_version").fetchone()[0]
                if found == 0:
                    for statement in _statements(_SCHEMA):
                        database.execute(statement)
                    database.execute(f"PRAGMA user_version = {VERSION}")
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"the queue {file} cannot be read ({error}); restore it, or start with a new state folder"
            ) from error
        if found not in (0, VERSION):
            self.close()
            raise InputError(
                f"the queue {file} has version {found}, this program reads version {VERSION}; "
                "use the program that wrote it, or a new state folder"
            )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block, on the disk for good when it ends, or nothing of it."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """Rows of a query."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; ``executescript`` would end the transaction it runs in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
