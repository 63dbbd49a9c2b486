"""Delete what is no longer needed of public reports: rows, pictures and every trace of them in the database's files."""

import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline.core.errors import UserError
from pipeline.params.reports import Reports
from pipeline.reports import inbox
from pipeline.reports.inbox import Report

_ORPHAN_SECONDS = 3600.0  # a picture without a row that is younger may belong to a report that is being stored


@dataclass(frozen=True)
class Purged:
    """How many reports and pictures were deleted, and of how many accepted ones the comment and source."""

    reports: int = 0
    pictures: int = 0
    accepted: int = 0


def days_left(report: Report, limits: Reports) -> int:
    """Return after how many days a report that nobody accepts is deleted; 0: at the next purge."""
    due = datetime.fromisoformat(report.created_at) + timedelta(days=limits.retain_days)
    return max(0, -((datetime.now(UTC) - due) // timedelta(days=1)))


def purge(limits: Reports) -> Purged:
    """Delete every report older than `retain_days` that was not accepted, its picture included.

    Of accepted ones that old it deletes comment, source and hashes: what became of them is in data/. Pictures that no
    report names are deleted too. Then the database is rewritten, and its log emptied, so that no deleted byte remains
    in the inbox. (A disk may hold old blocks of its own, as a solid-state disk or a snapshot does.)

    Raises:
        UserError: another process holds the database.

    """
    if not inbox.DATABASE.exists():
        return Purged()
    oldest = (datetime.now(UTC) - timedelta(days=limits.retain_days)).isoformat(timespec="seconds")
    with inbox.connect() as database:
        old = [report for report in inbox.reports(database) if report.created_at <= oldest]
        gone = [report for report in old if report.state != inbox.ACCEPTED]
        bared = [report for report in old if report.state == inbox.ACCEPTED and report.source != report.id]
        for report in gone:
            inbox.delete_picture(report)
            database.execute("DELETE FROM reports WHERE id = ?", (report.id,))
        for report in bared:
            # The pair of picture and source is unique: the id stands for the source.
            inbox.change(database, report.id, comment="", source=report.id, hashes=b"")
        orphans = _delete_orphans(inbox.reports(database))
    _rewrite()
    return Purged(len(gone), sum(bool(report.picture) for report in gone) + orphans, len(bared))


def _delete_orphans(known: list[Report]) -> int:
    named = {report.picture for report in known if report.picture}
    orphans = [
        path
        for path in inbox.PICTURES.iterdir()
        if path.name not in named and time.time() - path.stat().st_mtime > _ORPHAN_SECONDS
    ]
    for path in orphans:
        path.unlink(missing_ok=True)
    return len(orphans)


def _rewrite() -> None:
    try:
        database = inbox.open_database()
        try:
            database.execute("VACUUM")
            busy = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            database.close()
    except sqlite3.DatabaseError as error:
        raise UserError(f"{inbox.DATABASE} was purged, but not rewritten ({error}). Run this again.") from None
    if busy:
        raise UserError(f"{inbox.DATABASE} was purged, but its log is in use. Run this again.")
