"""The inbox of public reports: one SQLite file and pictures under random names, outside data/; no stage reads it.

    with inbox.connect() as database:
        rows = inbox.reports(database, states=inbox.OPEN)

Deleted rows are overwritten (secure_delete). Every operation opens the file anew, and writes within one transaction.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.core import paths
from pipeline.core.errors import UserError

DATABASE = paths.INBOX / "reports.sqlite"
PICTURES = paths.INBOX / "pictures"

NEW, ESCALATED, ACCEPTED, REJECTED, MERGED = "new", "escalated", "accepted", "rejected", "merged"
OPEN = (NEW, ESCALATED)

_BUSY_SECONDS = 10.0
_ID_DIGITS = 12
_SCHEMA = """
CREATE TABLE IF NOT EXISTS reports (
  id TEXT PRIMARY KEY, created_at TEXT NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL, scores TEXT NOT NULL,
  decision TEXT NOT NULL, sha256 TEXT NOT NULL, hashes BLOB NOT NULL, expected_label TEXT NOT NULL,
  comment TEXT NOT NULL, source TEXT NOT NULL, picture TEXT NOT NULL, picture_sha256 TEXT NOT NULL,
  count INTEGER NOT NULL, state TEXT NOT NULL, closed_at TEXT NOT NULL, closed_by TEXT NOT NULL, note TEXT NOT NULL,
  case_sha256 TEXT NOT NULL, ticket TEXT NOT NULL, slice TEXT NOT NULL, merged_into TEXT NOT NULL,
  UNIQUE (sha256, source));
CREATE TABLE IF NOT EXISTS buckets (source TEXT PRIMARY KEY, tokens REAL NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS salts (day TEXT PRIMARY KEY, salt BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Report:
    """A public report.

    Attributes:
        id: random; also the ticket of the case that it becomes, unless a person names another.
        created_at: UTC, ISO 8601.
        model: the registered model that answered, and its `version`.
        scores: its probability of each of its labels.
        decision: "unsafe" or "safe" at the threshold; "" where the version has none.
        sha256: of the bytes that were sent.
        hashes: the perceptual hashes of `duplicates.fingerprint`; b"" of a picture of one colour.
        expected_label: the right label, says the report.
        comment: text of anybody.
        source: the salted hash of the address (`limits.source_of`).
        picture: the name of the file in PICTURES; "" where only the hashes were given, or it was deleted.
        picture_sha256: of that file.
        count: how often the same source reported this picture.
        state: NEW, ESCALATED, ACCEPTED, REJECTED or MERGED.
        closed_at: when a person decided, `closed_by` whom, with a `note`; "" before that.
        case_sha256: the picture of data/reports.csv, once accepted, with its `ticket` and `slice`.
        merged_into: the id of the report that stands for this one.

    """

    id: str
    created_at: str
    model: str
    version: str
    scores: Mapping[str, float]
    decision: str
    sha256: str
    hashes: bytes = field(repr=False)
    expected_label: str
    comment: str
    source: str
    picture: str = ""
    picture_sha256: str = ""
    count: int = 1
    state: str = NEW
    closed_at: str = ""
    closed_by: str = ""
    note: str = ""
    case_sha256: str = ""
    ticket: str = ""
    slice: str = ""
    merged_into: str = ""

    @property
    def answer(self) -> str:
        """The most probable label, says the model."""
        return max(self.scores, key=lambda name: (self.scores[name], name), default="")

    def to_document(self) -> dict[str, Any]:
        """Return the report for JSON, without its hashes."""
        return {name: value for name, value in asdict(self).items() if name != "hashes"} | {"answer": self.answer}


COLUMNS = tuple(one.name for one in fields(Report))


@contextmanager
def connect() -> Iterator[sqlite3.Connection]:
    """Yield a connection within one transaction, which is undone on any error; make the inbox if there is none.

    Raises:
        UserError: the file is no database, or another process has held it for long.

    """
    for folder in (paths.INBOX, PICTURES):
        folder.mkdir(mode=0o700, exist_ok=True)
    try:
        database = open_database()
        try:
            database.execute("BEGIN IMMEDIATE")
            with database:
                yield database
        finally:
            database.close()
    except sqlite3.DatabaseError as error:
        raise UserError(f"{DATABASE} cannot be used ({error}). If another command holds it, try again.") from None


def open_database() -> sqlite3.Connection:
    """Return an open connection without a transaction; its rows are `sqlite3.Row`."""
    handle = os.open(DATABASE, os.O_RDWR | os.O_CREAT, 0o600)  # SQLite would make it readable by others
    os.close(handle)
    database = sqlite3.connect(DATABASE, timeout=_BUSY_SECONDS, isolation_level=None)
    database.row_factory = sqlite3.Row
    database.execute("PRAGMA secure_delete = ON")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'counters'").fetchone():
        database.executescript(_SCHEMA)
    return database


def reports(database: sqlite3.Connection, states: Sequence[str] = ()) -> list[Report]:
    """Return the reports in these states (all, if none is named), escalated ones first, then by time."""
    rows = database.execute("SELECT * FROM reports ORDER BY state != ?, created_at, rowid", (ESCALATED,)).fetchall()
    return [report for report in map(_report, rows) if not states or report.state in states]


def find(database: sqlite3.Connection, prefix: str) -> Report:
    """Return the report whose id begins so.

    Raises:
        UserError: there is none, or several.

    """
    rows = database.execute(
        "SELECT * FROM reports WHERE substr(id, 1, ?) = ? LIMIT 2", (len(prefix), prefix)
    ).fetchall()
    if len(rows) != 1 or not prefix:
        what = "more than one report begins" if rows else "no report begins"
        raise UserError(f"{what} with {prefix[:40]!r}. `nsfw reports list --all` shows them.")
    return _report(rows[0])


def insert(database: sqlite3.Connection, report: Report) -> None:
    """Add a report.

    Raises:
        sqlite3.IntegrityError: there is one of this picture and source.

    """
    values = asdict(report) | {"scores": json.dumps(dict(report.scores))}
    marks = ", ".join(f":{name}" for name in COLUMNS)
    database.execute(f"INSERT INTO reports ({', '.join(COLUMNS)}) VALUES ({marks})", values)  # noqa: S608 -- our own names


def change(database: sqlite3.Connection, identity: str, **values: object) -> None:
    """Change columns of a report."""
    unknown = set(values) - set(COLUMNS)
    if unknown:
        raise ValueError(f"no such columns: {sorted(unknown)}")
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    database.execute(f"UPDATE reports SET {assignments} WHERE id = :identity", {**values, "identity": identity})  # noqa: S608 -- our own names


def count(database: sqlite3.Connection, name: str) -> None:
    """Add one to a counter: `repeated`, `refused`, `full`."""
    database.execute("INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1", (name,))


def counters(database: sqlite3.Connection) -> dict[str, int]:
    """Return the counters by name."""
    return {row["name"]: row["value"] for row in database.execute("SELECT * FROM counters ORDER BY name")}


def delete_picture(report: Report) -> None:
    """Delete a report's picture file, if it has one."""
    if report.picture:
        (PICTURES / Path(report.picture).name).unlink(missing_ok=True)


def now() -> str:
    """Return the time for a row: UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_id() -> str:
    """Return a random id."""
    return os.urandom(_ID_DIGITS // 2).hex()


def _report(row: sqlite3.Row) -> Report:
    values = {name: row[name] for name in COLUMNS}
    return Report(**{**values, "scores": json.loads(row["scores"])})
