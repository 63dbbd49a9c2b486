"""What was fetched already: an SQLite file outside data/, so that a run that is killed fetches nothing twice.

An answer and its bytes are one transaction: after a SIGKILL either both are there or neither. The file is deleted when
the batch is in data/.
"""

import fcntl
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.data.escalations import ESCALATED, Match, Verdict

STORED, REFUSED = "stored", "refused"


class JournalInUseError(UserError):
    """Another process fetches into the journal."""


@dataclass(frozen=True)
class Outcome:
    """How the fetching of a URL ended. `bytes`: of the content; `sha256`: None without one; `fetched_at`: ISO 8601."""

    status: str
    reason: str
    final_url: str
    http_status: int
    content_type: str
    etag: str
    bytes: int
    sha256: str | None
    extension: str
    attempts: int
    fetched_at: str


_COLUMNS = [column.name for column in fields(Outcome)]
_SCHEMA = f"""
create table if not exists outcomes (url text primary key, {", ".join(_COLUMNS)}) without rowid;
create table if not exists attempts (url text primary key, failed integer not null) without rowid;
create table if not exists dead (host text primary key, reason text not null) without rowid;
create table if not exists contents (sha256 text primary key, bytes blob not null);
create table if not exists screened (sha256 text primary key, digest text not null) without rowid;
create table if not exists verdicts (sha256 text primary key, verdict text not null) without rowid;
"""


_INSERT_OUTCOME = """
insert or ignore into outcomes values (:url, :status, :reason, :final_url, :http_status, :content_type, :etag, :bytes,
:sha256, :extension, :attempts, :fetched_at)
"""


class Journal:
    """The answers so far, by URL."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._db.execute("pragma secure_delete = on")  # what is deleted is overwritten
        self._db.executescript(_SCHEMA)

    def record(self, url: str, outcome: Outcome, content: bytes | None = None, *, screened: str = "") -> None:
        """Record how a URL ended, with its bytes if they are to be stored.

        `screened`: the digest of the screens that the bytes have passed.
        """
        with self._transaction():
            self._db.execute(_INSERT_OUTCOME, {"url": url, **asdict(outcome)})
            if content is not None:
                self._db.execute("insert or ignore into contents values (?, ?)", (outcome.sha256, content))
                self._db.execute("insert or replace into screened values (?, ?)", (outcome.sha256, screened))

    def escalate(self, verdict: Verdict) -> None:
        """Record that screens match a content, and delete its bytes if they are here."""
        document = json.dumps(asdict(verdict))
        with self._transaction():
            self._db.execute("insert or ignore into verdicts values (?, ?)", (verdict.sha256, document))
            changed = (ESCALATED, verdict.reason, verdict.sha256)
            self._db.execute("update outcomes set status = ?, reason = ? where sha256 = ?", changed)
            held = self._db.execute("delete from contents where sha256 = ?", (verdict.sha256,)).rowcount
        if held:
            self._db.execute("pragma wal_checkpoint(truncate)")  # earlier pages, with its bytes

    def verdict(self, sha256: str) -> Verdict | None:
        """Return the verdict on a content that was escalated."""
        row = self._db.execute("select verdict from verdicts where sha256 = ?", (sha256,)).fetchone()
        if row is None:
            return None
        values = json.loads(row[0])
        return Verdict(**values | {"matches": tuple(Match(*match) for match in values["matches"])})

    def unscreened(self, digest: str) -> list[str]:
        """Return the contents that have not passed the screens of this digest."""
        query = "select sha256 from contents where sha256 not in (select sha256 from screened where digest = ?)"
        return [str(sha256) for (sha256,) in self._db.execute(f"{query} order by sha256", (digest,))]

    def note_screened(self, sha256: str, digest: str) -> None:
        """Record that a content has passed the screens of this digest."""
        self._db.execute("insert or replace into screened values (?, ?)", (sha256, digest))

    def outcome(self, url: str) -> Outcome | None:
        """Return how a URL ended; None if it did not yet."""
        row = self._db.execute("select * from outcomes where url = ?", (url,)).fetchone()
        return None if row is None else Outcome(*row[1:])

    def content(self, sha256: str) -> bytes:
        """Return the bytes of a content that was recorded."""
        (content,) = self._db.execute("select bytes from contents where sha256 = ?", (sha256,)).fetchone()
        return bytes(content)

    def failed_attempts(self, url: str) -> int:
        """Return how many attempts at a URL have failed for now."""
        row = self._db.execute("select failed from attempts where url = ?", (url,)).fetchone()
        return int(row[0]) if row else 0

    def note_failed(self, url: str, attempts: int) -> None:
        """Record that so many attempts at a URL have failed, and that there may be another."""
        self._db.execute("insert or replace into attempts values (?, ?)", (url, attempts))

    def note_dead(self, host: str, reason: str) -> None:
        """Record that a host answers nothing."""
        self._db.execute("insert or ignore into dead values (?, ?)", (host, reason))

    def dead(self) -> dict[str, str]:
        """Return why each host that answers nothing was given up."""
        return dict(self._db.execute("select host, reason from dead"))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def delete(self) -> None:
        """Close the file and delete it: everything of it is in data/."""
        self.close()
        for end in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("begin")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")


@contextmanager
def open_journal(folder: Path, source: str) -> Iterator[Journal]:
    """Open the journal of a source's batch, for this process alone.

    Raises:
        UserError: another process fetches for the same source, or the file is damaged.

    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{source}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalInUseError(f"another `nsfw ingest urls` fetches for {source!r}. Wait for it to end.") from None
        path = folder / f"{source}.db"
        try:
            journal = Journal(path)
        except sqlite3.DatabaseError as error:
            raise UserError(f"{path} is damaged ({error}). Delete it to fetch that batch anew.") from None
        try:
            yield journal
        finally:
            journal.close()
