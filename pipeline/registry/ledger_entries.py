"""The ledger's entries, and which of them take effect, without a lock.

An entry names the last effective entry that its author knew (`expects`, with its digest), and the highest number that
existed (`seen`). It takes effect if that entry is still the last effective one: of two simultaneous promotions the
lower number wins, and every reader finds the same winner. If a number between `seen` and the entry's own was deleted,
the deleted entry may have been the winner, so the entry does not take effect.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Act = Literal["promote", "rollback"]


@dataclass(frozen=True)
class Draft:
    """An entry to append: `version` becomes production instead of `previous` (None: there was none).

    `gates` is the gate table at the time, `overrides` the failed gates that were overridden.
    """

    act: Act
    version: int
    previous: int | None
    reason: str
    model_sha256: str
    evidence_sha256: str
    gates: Sequence[Mapping[str, Any]] = ()
    overrides: Sequence[str] = ()
    test_change: str = ""


@dataclass(frozen=True)
class Entry:
    """One entry of the registry; `expects` is 0 for an entry that expects an empty ledger."""

    number: int
    id: str
    expects: int
    expects_sha256: str
    seen: int
    who: str
    when: str
    draft: Draft

    def document(self) -> dict[str, Any]:
        """Return all fields but the number, which the registry assigns."""
        return {name: value for name, value in asdict(self).items() if name != "number"}

    @property
    def sha256(self) -> str:
        """The digest that a later entry names this one by: changing an entry invalidates all that follow."""
        text = json.dumps(self.document(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Ledger:
    """All entries, in order.

    Attributes:
        entries: all that can be read.
        effective: those that took effect; each expects the one before.
        unreadable: numbers of versions that hold no entry: versions of others, or damaged entries.
        missing: numbers of deleted versions.
        invalidated: numbers of entries that expect an entry which is missing or has changed. An entry that merely
            lost a race is not one of them.
        counted: the highest number that is known to have been given to an entry.

    """

    entries: tuple[Entry, ...] = ()
    effective: tuple[Entry, ...] = ()
    unreadable: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    invalidated: tuple[int, ...] = ()
    counted: int = 0

    @property
    def last(self) -> Entry | None:
        """The last effective entry."""
        return self.effective[-1] if self.effective else None

    @property
    def production(self) -> int | None:
        """The version in production."""
        return self.last.draft.version if self.last else None

    @property
    def highest(self) -> int:
        """The highest number that exists or existed; 0 for none."""
        numbers = [entry.number for entry in self.entries]
        return max([0, self.counted, *numbers, *self.unreadable, *self.missing])

    @property
    def damaged(self) -> tuple[int, ...]:
        """The unreadable numbers up to `counted`: they were entries once."""
        return tuple(number for number in self.unreadable if number <= self.counted)

    @property
    def broken(self) -> bool:
        """Whether entries were lost after the last effective one, so that production may be out of date.

        The next entry repairs it, because its author decides anew.
        """
        return max([0, *self.missing, *self.invalidated, *self.damaged]) > (self.last.number if self.last else 0)

    def before(self, version: int) -> int | None:
        """Return the version that was in production before `version` was last promoted."""
        promotions = [
            entry for entry in self.effective if entry.draft.act == "promote" and entry.draft.version == version
        ]
        return promotions[-1].draft.previous if promotions else None


def build(entries: Sequence[Entry], unreadable: Sequence[int] = (), counted: int = 0) -> Ledger:
    """Return the ledger of these entries, given in any order."""
    ordered = sorted(entries, key=lambda entry: entry.number)
    there = {entry.number for entry in ordered} | set(unreadable)
    missing = set(range(1, max([counted, *there], default=0) + 1)) - there
    lost = missing | set(unreadable)
    effective: list[Entry] = []
    known, invalidated, ids = {(0, "")}, [], set()
    last = (0, "")
    for entry in ordered:
        expects = (entry.expects, entry.expects_sha256)
        again = entry.id in ids  # a request that was sent twice counts as one entry
        ids.add(entry.id)
        if expects not in known:  # its author has read the ledger, so the expected entry did take effect
            invalidated.append(entry.number)
            lost.add(entry.number)
        elif expects == last and not again and not any(entry.seen < number < entry.number for number in lost):
            effective.append(entry)
            last = (entry.number, entry.sha256)
            known.add(last)
    return Ledger(
        tuple(ordered),
        tuple(effective),
        tuple(sorted(unreadable)),
        tuple(sorted(missing)),
        tuple(invalidated),
        counted,
    )


def parse(number: int, text: str) -> Entry | None:
    """Return the entry in a version's tag; None if it is not a valid one, since anybody may write there."""
    try:
        document = json.loads(text)
        draft = document.pop("draft")
        draft |= {"gates": tuple(draft["gates"]), "overrides": tuple(draft["overrides"])}
        entry = Entry(number=number, draft=Draft(**draft), **document)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    return entry if _sound(entry) else None


def _sound(entry: Entry) -> bool:
    """Whether each field has its type."""
    draft = entry.draft
    texts = [entry.id, entry.expects_sha256, entry.who, entry.when, *draft.overrides]
    texts += [draft.reason, draft.model_sha256, draft.evidence_sha256, draft.test_change]
    numbers = [entry.expects, entry.seen, draft.version, *([] if draft.previous is None else [draft.previous])]
    rows = [isinstance(row, dict) and {"gate", "status", "reason"} <= row.keys() for row in draft.gates]
    sound = all(isinstance(text, str) for text in texts) and all(type(number) is int for number in numbers)
    return sound and all(rows) and draft.act in get_args(Act)
