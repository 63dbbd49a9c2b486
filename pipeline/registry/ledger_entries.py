"""The ledger's entries, and which of them take effect: no entry alone decides, nor does any lock.

An entry names the last effective one that its author knew (`expects`, with its digest), and the highest number that
there was (`seen`). It takes effect if that one is still the last: of two promoters at once the lower number wins, and
every reader finds the same winner. Where a number between `seen` and its own is lost, it may have been the winner: then
who came too late does not win by that.
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
    """What is to be entered: `version` becomes production in place of `previous` (None: there was none).

    `gates` is the table that the act stood on, `overrides` the failed gates that were passed all the same.
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
    """One entry, as it stands in the registry; `expects` 0 stands for the beginning of the ledger."""

    number: int
    id: str
    expects: int
    expects_sha256: str
    seen: int
    who: str
    when: str
    draft: Draft

    def document(self) -> dict[str, Any]:
        """Return all but the number, which the registry gives."""
        return {name: value for name, value in asdict(self).items() if name != "number"}

    @property
    def sha256(self) -> str:
        """What a later entry holds this one by: changing an entry unhinges all that follow."""
        text = json.dumps(self.document(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Ledger:
    """All entries in order.

    Attributes:
        entries: all that can be read.
        effective: those that took effect, each in the knowledge of the one before.
        unreadable: numbers that hold no entry: somebody else's versions, or entries that were spoilt.
        missing: numbers that were given once, and are gone: deleted.
        unhinged: numbers of entries that knew of one which is not there, or not as it was. An entry that merely lost a
            race is none of these.
        counted: the highest number that is known to have been given to an entry.

    """

    entries: tuple[Entry, ...] = ()
    effective: tuple[Entry, ...] = ()
    unreadable: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    unhinged: tuple[int, ...] = ()
    counted: int = 0

    @property
    def last(self) -> Entry | None:
        """The entry that made production what it is."""
        return self.effective[-1] if self.effective else None

    @property
    def production(self) -> int | None:
        """The version in production."""
        return self.last.draft.version if self.last else None

    @property
    def highest(self) -> int:
        """The highest number that there is or was; 0 for none."""
        numbers = [entry.number for entry in self.entries]
        return max([0, self.counted, *numbers, *self.unreadable, *self.missing])

    @property
    def spoilt(self) -> tuple[int, ...]:
        """The numbers that can no longer be read, though an entry was made then or later."""
        return tuple(number for number in self.unreadable if number <= self.counted)

    @property
    def broken(self) -> bool:
        """Whether entries were lost after the last effective one: production may be older than what was last decided.

        The next entry mends it: whoever makes it decides anew.
        """
        return max([0, *self.missing, *self.unhinged, *self.spoilt]) > (self.last.number if self.last else 0)

    def before(self, version: int) -> int | None:
        """Return what was in production before `version` was last promoted."""
        found = [entry for entry in self.effective if entry.draft.act == "promote" and entry.draft.version == version]
        return found[-1].draft.previous if found else None


def build(entries: Sequence[Entry], unreadable: Sequence[int] = (), counted: int = 0) -> Ledger:
    """Return the ledger of these entries, in whatever order they come."""
    ordered = sorted(entries, key=lambda entry: entry.number)
    there = {entry.number for entry in ordered} | set(unreadable)
    missing = set(range(1, max([counted, *there], default=0) + 1)) - there
    lost = missing | set(unreadable)
    effective: list[Entry] = []
    known, unhinged, ids = {(0, "")}, [], set()
    last = (0, "")
    for entry in ordered:
        expects = (entry.expects, entry.expects_sha256)
        again = entry.id in ids  # a request that was sent twice is one entry
        ids.add(entry.id)
        if expects not in known:  # whoever appends has read the ledger: what it knew did take effect
            unhinged.append(entry.number)
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
        tuple(unhinged),
        counted,
    )


def parse(number: int, text: str) -> Entry | None:
    """Return the entry that a version's tag holds; None where it is none of ours: anybody may write there."""
    try:
        document = json.loads(text)
        draft = document.pop("draft")
        draft |= {"gates": tuple(draft["gates"]), "overrides": tuple(draft["overrides"])}
        entry = Entry(number=number, draft=Draft(**draft), **document)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    return entry if _sound(entry) else None


def _sound(entry: Entry) -> bool:
    """Whether each field is of its type: what comes after would trip over it."""
    draft = entry.draft
    texts = [entry.id, entry.expects_sha256, entry.who, entry.when, *draft.overrides]
    texts += [draft.reason, draft.model_sha256, draft.evidence_sha256, draft.test_change]
    numbers = [entry.expects, entry.seen, draft.version, *([] if draft.previous is None else [draft.previous])]
    rows = [isinstance(row, dict) and {"gate", "status", "reason"} <= row.keys() for row in draft.gates]
    sound = all(isinstance(text, str) for text in texts) and all(type(number) is int for number in numbers)
    return sound and all(rows) and draft.act in get_args(Act)
