"""review.db: what people decided, and who looks at what now. On disk before anyone is told that it is saved.

    store = Store(paths.REVIEW)
    with store.writing() as connection:
        ...                         # one transaction: whole or not at all, also of several processes

A SQLite database in WAL mode with synchronous=FULL: a commit is on the disk when it returns.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import UserError

_VERSION = 1
_SCHEMA = """
CREATE TABLE decisions (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,          -- made by the browser: sent twice, it is one decision
  sha256 TEXT NOT NULL,
  reviewer TEXT NOT NULL,
  act TEXT NOT NULL,                -- keep, drop, unsure, escalate, or a label
  old_label TEXT NOT NULL,          -- of several, a|b
  suggested TEXT NOT NULL,
  queue TEXT NOT NULL,
  split TEXT NOT NULL,
  reason TEXT NOT NULL,
  model_version TEXT NOT NULL,
  decided_at TEXT NOT NULL,         -- UTC
  final INTEGER NOT NULL,           -- 1: decides a disagreement, or escalates
  undone INTEGER NOT NULL DEFAULT 0,
  written INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX decisions_by_picture ON decisions (sha256);
CREATE INDEX decisions_by_queue ON decisions (queue, number);
CREATE TABLE claims (
  sha256 TEXT PRIMARY KEY,
  reviewer TEXT NOT NULL,
  expires REAL NOT NULL             -- seconds since 1970
);
CREATE TABLE people (
  name TEXT PRIMARY KEY             -- who could come in, so that a second opinion can be waited for
);
CREATE TABLE activity (
  reviewer TEXT NOT NULL,
  day TEXT NOT NULL,
  seconds REAL NOT NULL,
  pictures INTEGER NOT NULL,
  PRIMARY KEY (reviewer, day)
);
"""


class Store:
    """The database; several threads, and several processes, may use it at once."""

    def __init__(self, path: Path) -> None:
        """Open it; it is made if there is none.

        Raises:
            UserError: the file is another database, or none.

        """
        self._path = path
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(path, timeout=30.0, check_same_thread=False, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise UserError(f"{path} cannot be used ({error}). Move it away, and run this again.") from None

    def _prepare(self) -> None:
        with self.writing() as connection:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version not in {0, _VERSION}:
                raise UserError(f"{self._path} is of another version of this program ({version}, not {_VERSION}).")
            if version == 0:
                for statement in filter(str.strip, _without_comments(_SCHEMA).split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={_VERSION}")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection in a transaction that excludes other writers; it is on disk after the block."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection, for one consistent look at what is committed."""
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.execute("ROLLBACK")

    def add_people(self, names: Iterable[str]) -> None:
        """Record who may decide."""
        with self.writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO people VALUES (?)", [(name,) for name in names])

    def people(self) -> set[str]:
        """Return everyone who ever could decide."""
        with self.reading() as connection:
            return {row["name"] for row in connection.execute("SELECT name FROM people")}

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()


def _without_comments(text: str) -> str:
    return "\n".join(line.partition("--")[0] for line in text.splitlines())
