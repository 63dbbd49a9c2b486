"""What screens say of a content, and the record of a match: hashes, list, origin and time, never a pixel.

    verdict.rows(origin="porn/a.jpg", source="web", door="ingest folder")
    escalations.append(paths.ESCALATION_RECORDS, rows)

data/escalations.csv is append-only and written by `nsfw` alone; each content, list and origin has one row.
"""

import fcntl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import pandas as pd

from pipeline.core import csv_rows, paths
from pipeline.core.csv_rows import Column
from pipeline.data import annotation_rows

Item = TypeVar("Item")

COLUMNS = (
    "sha256", "md5", "sha1", "pdq", "list", "kind", "entry", "distance", "origin", "source", "door", "screened_at",
)  # fmt: skip
_SAME = ("sha256", "list", "origin", "source")  # a row that agrees in these is the same record

_TABLE = [Column(name, required=name in {"sha256", "list"}) for name in COLUMNS]

ESCALATED = "escalated"  # of a sighting: a screen matched, or matched later; only hashes stay
UNSCREENED = "unscreened"  # the code of a reason: a screen did not answer, so the bytes were not taken


class Match(NamedTuple):
    """A match: the name and kind of list or hook, its entry, and for PDQ the distance in bits."""

    list: str
    kind: str
    entry: str
    distance: int | None = None


@dataclass(frozen=True)
class Verdict:
    """What the screens say of a content; hashes in hexadecimal digits, `pdq` of the frame that matched.

    Of a content that matches nothing, the sha256 alone is sure to be there.

    `problem`: why it could not be screened, so that nobody knows; "" if it was.
    """

    sha256: str
    md5: str
    sha1: str
    pdq: str = ""
    matches: tuple[Match, ...] = ()
    problem: str = ""

    @property
    def reason(self) -> str:
        """The reason of a row about it: `escalated: ...`, `unscreened: ...`, or "" for a content without match."""
        if self.matches:
            return f"{ESCALATED}: matches {', '.join(match.list for match in self.matches)}"
        return f"{UNSCREENED}: {self.problem}" if self.problem else ""

    def rows(self, *, origin: str, source: str, door: str) -> list[dict[str, str]]:
        """Return a row of COLUMNS for each list that it matches; `door` is the command that screened it."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        hashes = {"sha256": self.sha256, "md5": self.md5, "sha1": self.sha1, "pdq": self.pdq}
        where = {"origin": origin, "source": source, "door": door, "screened_at": now}
        return [hashes | _cells(match) | where for match in self.matches]


class Screen(Protocol):
    """Screens contents; pipeline/screening has the one that there is."""

    def screen(
        self, items: Iterable[Item], content: Callable[[Item], bytes | None]
    ) -> Iterator[tuple[Item, Verdict | None]]:
        """Yield every item in order with the verdict on its bytes, None without bytes."""


def _cells(match: Match) -> dict[str, str]:
    distance = "" if match.distance is None else str(match.distance)
    return {"list": match.list, "kind": match.kind, "entry": match.entry, "distance": distance}


def judged(row: dict[str, Any], verdict: Verdict | None) -> dict[str, Any]:
    """Return the sighting of a content after screening: escalated, refused for want of an answer, or as it was."""
    if verdict is None or not verdict.reason:
        return row
    if verdict.matches:
        return row | {"status": ESCALATED, "reason": verdict.reason}
    return row | {"status": "refused", "reason": verdict.reason, "sha256": None}


def is_escalated(reason: str) -> bool:
    """Whether the reason of a row says that a screen matched."""
    return reason.startswith(f"{ESCALATED}:")


def load(path: Path) -> pd.DataFrame:
    """Return the records, as texts; none where there is no file.

    Raises:
        UserError: it is no such table.

    """
    if not path.exists():
        return pd.DataFrame(columns=list(COLUMNS), dtype="str")
    return csv_rows.read(path, _TABLE)


def append(path: Path, rows: Sequence[Mapping[str, str]]) -> int:
    """Append the records that the file does not hold yet, whole or not at all; return how many these were.

    Several processes may append at once.

    Raises:
        UserError: the file is no such table, or cannot be written.

    """
    if not rows:
        return 0
    with _locked():
        return annotation_rows.append_missing(path, rows, _TABLE, _SAME)


@contextmanager
def _locked() -> Iterator[None]:
    paths.CACHE.mkdir(exist_ok=True)
    with (paths.CACHE / "escalations.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
