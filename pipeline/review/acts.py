"""Claiming pictures, deciding about them, taking decisions back: the only writers of review.db.

Everything is one transaction. A picture is claimed by one person at a time; a claim lasts while their browser answers.
"""

import sqlite3
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.core.decisions import ESCALATE
from pipeline.review import opinions
from pipeline.review.opinions import Opinion
from pipeline.review.store import Store

SAVED, UNDONE, REFUSED = "saved", "undone", "refused"


@dataclass(frozen=True)
class Rules:
    """What decides whose picture is whose: the share of second opinions, its seed, and how long a claim lasts (s)."""

    second_opinion: float
    seed: int
    lease_seconds: float


@dataclass(frozen=True)
class Act:
    """What a browser asks for: a decision, or (`undo`) to take back the one with this id."""

    id: str
    sha256: str = ""
    act: str = ""
    old_label: str = ""
    suggested: str = ""
    queue: str = ""
    split: str = ""
    reason: str = ""
    model_version: str = ""
    undo: bool = False


@dataclass(frozen=True)
class Outcome:
    """Of an act: saved, undone or refused, and why it was refused."""

    id: str
    outcome: str
    why: str = ""


@dataclass
class Desk:
    """What one person may do with review.db."""

    store: Store
    rules: Rules
    reviewer: str

    def claim(self, groups: Iterable[Sequence[str]], most: int, *, disagreements: bool = False) -> list[str]:
        """Claim the first free groups of pictures until there are `most` pictures; return these, in order.

        A group (a cluster) is free if no other person holds or decided one of its pictures. Pictures that this person
        holds already are returned again, so a page that is loaded anew shows the same ones.
        """
        now, claimed = time.time(), list[str]()
        with self.store.writing() as connection:
            connection.execute("DELETE FROM claims WHERE expires < ?", (now,))
            held = {row["sha256"] for row in _others(connection, self.reviewer)}
            by_picture = _opinions(connection)
            for group in groups:
                if len(claimed) >= most:
                    break
                if not held.isdisjoint(group):
                    continue
                claimed += [one for one in group if self._wanted(one, by_picture.get(one, []), disagreements)]
            self._hold(connection, claimed, now)
        return claimed

    def renew(self, sha256: Collection[str], seconds: float, pictures: int) -> list[str]:
        """Make this person's claims last on, and add to the time and pictures of the day; return those still theirs."""
        now = time.time()
        with self.store.writing() as connection:
            mine = _held_by(connection, self.reviewer)
            self._hold(connection, [one for one in sha256 if one in mine], now)
            connection.execute(
                "INSERT INTO activity VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "seconds = seconds + excluded.seconds, pictures = pictures + excluded.pictures",
                (self.reviewer, datetime.now(UTC).date().isoformat(), seconds, pictures),
            )
        return [one for one in sha256 if one in mine]

    def release(self, sha256: Collection[str]) -> None:
        """Give up claims."""
        with self.store.writing() as connection:
            connection.executemany(
                "DELETE FROM claims WHERE sha256 = ? AND reviewer = ?", [(one, self.reviewer) for one in sha256]
            )

    def perform(self, acts: Sequence[Act]) -> list[Outcome]:
        """Do these acts in their order, in one transaction; what was done before is not done again."""
        with self.store.writing() as connection:
            return [self._undo(connection, act) if act.undo else self._decide(connection, act) for act in acts]

    def _decide(self, connection: sqlite3.Connection, act: Act) -> Outcome:
        known = connection.execute("SELECT * FROM decisions WHERE id = ?", (act.id,)).fetchone()
        if known is not None:
            same = (known["sha256"], known["reviewer"], known["act"]) == (act.sha256, self.reviewer, act.act)
            return Outcome(act.id, SAVED) if same else Outcome(act.id, REFUSED, "another decision has this id")
        now = time.time()
        holder = connection.execute(
            "SELECT reviewer FROM claims WHERE sha256 = ? AND expires >= ?", (act.sha256, now)
        ).fetchone()
        if holder is not None and holder["reviewer"] != self.reviewer:
            return Outcome(act.id, REFUSED, "someone else looks at this picture now")
        earlier = _of_picture(connection, act.sha256)
        state = opinions.state(earlier, due=self._due(act.sha256))
        if state == opinions.SETTLED or (state == opinions.WAITING and earlier[0].reviewer == self.reviewer):
            return Outcome(act.id, REFUSED, "it is decided already")
        values = (
            act.id, act.sha256, self.reviewer, act.act, act.old_label, act.suggested, act.queue, act.split, act.reason,
            act.model_version, datetime.now(UTC).isoformat(), state == opinions.DISAGREED or act.act == ESCALATE,
        )  # fmt: skip
        connection.execute(f"INSERT INTO decisions ({_COLUMNS}) VALUES ({_MARKS})", values)  # noqa: S608 -- constants
        connection.execute("DELETE FROM claims WHERE sha256 = ?", (act.sha256,))
        return Outcome(act.id, SAVED)

    def _undo(self, connection: sqlite3.Connection, act: Act) -> Outcome:
        known = connection.execute("SELECT * FROM decisions WHERE id = ?", (act.id,)).fetchone()
        if known is None or known["reviewer"] != self.reviewer:
            return Outcome(act.id, REFUSED, "no decision of yours has this id")
        if known["undone"]:
            return Outcome(act.id, UNDONE)
        if known["written"]:
            return Outcome(act.id, REFUSED, "it is in data/decisions.csv already: decide anew, there the last row wins")
        later = [one for one in _of_picture(connection, known["sha256"]) if one.number > known["number"]]
        if later:
            return Outcome(act.id, REFUSED, "someone else has decided about this picture since")
        connection.execute("UPDATE decisions SET undone = 1 WHERE id = ?", (act.id,))
        self._hold(connection, [known["sha256"]], time.time())
        return Outcome(act.id, UNDONE)

    def _wanted(self, sha256: str, earlier: Sequence[Opinion], disagreements: bool) -> bool:  # noqa: FBT001
        state = opinions.state(earlier, due=self._due(sha256))
        if disagreements:
            return state == opinions.DISAGREED
        return state == opinions.OPEN or (state == opinions.WAITING and earlier[0].reviewer != self.reviewer)

    def _due(self, sha256: str) -> bool:
        return opinions.is_due(sha256, self.rules.second_opinion, self.rules.seed)

    def _hold(self, connection: sqlite3.Connection, sha256: Iterable[str], now: float) -> None:
        connection.executemany(
            "INSERT INTO claims VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET "
            "reviewer = excluded.reviewer, expires = excluded.expires "
            "WHERE claims.reviewer = excluded.reviewer OR claims.expires < ?",
            [(one, self.reviewer, now + self.rules.lease_seconds, now) for one in sha256],
        )


_COLUMNS = "id, sha256, reviewer, act, old_label, suggested, queue, split, reason, model_version, decided_at, final"
_MARKS = ", ".join("?" * 12)
_SELECT = f"SELECT {', '.join(Opinion._fields)} FROM decisions WHERE undone = 0"  # noqa: S608 -- constants


def all_opinions(store: Store) -> dict[str, list[Opinion]]:
    """Return every picture's decisions that were not taken back, by sha256, in their order."""
    with store.reading() as connection:
        return _opinions(connection)


def mark_written(store: Store, numbers: Collection[int]) -> None:
    """Record that these decisions are in data/decisions.csv."""
    with store.writing() as connection:
        connection.executemany("UPDATE decisions SET written = 1 WHERE number = ?", [(number,) for number in numbers])


def _opinions(connection: sqlite3.Connection) -> dict[str, list[Opinion]]:
    by_picture: dict[str, list[Opinion]] = {}
    for row in connection.execute(f"{_SELECT} ORDER BY number"):
        opinion = Opinion(*row)
        by_picture.setdefault(opinion.sha256, []).append(opinion)
    return by_picture


def _of_picture(connection: sqlite3.Connection, sha256: str) -> list[Opinion]:
    return [Opinion(*row) for row in connection.execute(f"{_SELECT} AND sha256 = ? ORDER BY number", (sha256,))]


def _others(connection: sqlite3.Connection, reviewer: str) -> list[sqlite3.Row]:
    return connection.execute("SELECT sha256 FROM claims WHERE reviewer <> ?", (reviewer,)).fetchall()


def _held_by(connection: sqlite3.Connection, reviewer: str) -> set[str]:
    rows = connection.execute("SELECT sha256 FROM claims WHERE reviewer = ?", (reviewer,))
    return {row["sha256"] for row in rows}


def held_by_others(store: Store, reviewer: str) -> set[str]:
    """Return the pictures that other people look at now."""
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT sha256 FROM claims WHERE reviewer <> ? AND expires >= ?", (reviewer, time.time())
        )
        return {row["sha256"] for row in rows}
