"""What every ingest of files does with its contents: screened, held against what was taken down, stored once.

    result = append(data, source, taken, door="ingest folder", screen=screen, nothing=message)

An ingest that is killed and run again ends in the same state: see pipeline/data/batch_writer.py.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipeline.core.errors import UserError
from pipeline.data import batch_names, batch_writer, escalations, removed_contents, sightings
from pipeline.data.escalated_contents import EscalatedContents
from pipeline.data.escalations import Screen, Verdict


class Taken(NamedTuple):
    """A file that was looked at: what its sighting says, and its bytes, None if `reason` says why it has none.

    `modified`: seconds. It is a file's own time rather than the clock, so that ingesting again gives the same row.
    `name`: the file's, for the ending that its bytes are stored under.
    """

    label: str | None
    origin: str
    modified: int
    size: int
    content: bytes | None
    reason: str
    name: str


@dataclass(frozen=True)
class IngestResult:
    """The result of an ingest: numbers of new sightings, contents stored for the first time, and files refused.

    `batch` is None if nothing was new. `removed`: files whose content was taken down for good. `escalated`: files
    that a screen matched, now or earlier; `unscreened`: those refused because a screen did not answer.
    """

    batch: str | None
    sighted: int
    stored: int
    refused: int
    shards: int
    removed: int = 0
    escalated: int = 0
    unscreened: int = 0

    def lines(self, seen: str) -> list[str]:
        """Return it for a terminal; `seen` is how many files were looked at, in words."""
        lines = [f"{seen}: {self.sighted} new sightings, {self.stored} new contents in {self.shards} shards"]
        if self.refused:
            lines.append(
                f"{self.refused} files were refused; their rows in data/sightings say why, and build/quarantine.csv "
                "will"
            )
        if self.removed:
            lines.append(
                f"{self.removed} files hold pictures that were taken down for good: their bytes were not stored"
            )
        if self.unscreened:
            lines.append(f"{self.unscreened} could not be screened, and were refused: run the same command again")
        return lines


def append(
    data: Path,
    source: str,
    taken: Iterable[Taken],
    *,
    door: str,
    screen: Screen | None,
    nothing: Callable[[Sequence[str]], str],
) -> IngestResult:
    """Append what is new of `taken` to `data`, which `folder.prepare` prepared, as one batch of `source`.

    A content that is stored already gets a sighting only. The same bytes, label, origin and source as in an earlier
    row give no new one. A content that was taken down is never stored, nor is one that `screen` matches: it is
    recorded, in data/escalations.csv and as taken down. `door` is the command.

    Raises:
        UserError: nothing could be ingested (`nothing` words it, by the reasons), or a screen is out of service;
            nothing is written then.

    """
    seen, removed = sightings.load(data / "sightings"), removed_contents.reasons(data / "sightings")
    writer = batch_writer.Writer(data, known=set(seen.loc[seen["status"] == "stored", "sha256"]))
    known = identities(seen)
    rows, refusals, count, escalated = [], list[str](), Counter[str](), EscalatedContents(data, source)
    for row, one, verdict in _screened(taken, source, removed, screen):
        count[str(row["status"])] += 1
        refusals += [str(row["reason"])] if row["reason"] else []
        escalated.add(row, verdict, door)
        identity = (row["sha256"], row["label"], row["origin"], source)
        if identity in known:
            continue
        known.add(identity)
        rows.append(row)
        if one.content is not None and row["status"] == "stored":
            writer.add(str(row["sha256"]), _extension(one.name), one.content)
    escalated.record()
    if not count["stored"] and not count[escalations.ESCALATED]:
        writer.discard()
        raise UserError(nothing(refusals))
    batch = writer.commit(batch_names.next_number(data / "sightings"), source, sightings.frame(rows)) if rows else None
    refused = sum(row["status"] == "refused" for row in rows)
    unscreened = sum(reason.startswith(f"{escalations.UNSCREENED}:") for reason in refusals)
    gone = count[sightings.REMOVED], count[escalations.ESCALATED]
    return IngestResult(batch, len(rows), writer.stored, refused, writer.shards, *gone, unscreened)


def identities(seen: pd.DataFrame) -> set[tuple[str | None, ...]]:
    """Return what makes a row the same as an earlier one: sha256, label, origin, source."""
    columns = seen[["sha256", "label", "origin", "source"]].astype(object)
    return set(columns.where(columns.notna(), None).itertuples(index=False, name=None))


def _screened(
    taken: Iterable[Taken], source: str, removed: dict[str, str], screen: Screen | None
) -> Iterator[tuple[dict[str, Any], Taken, Verdict | None]]:
    """Yield each file with its sighting, after screening; a content that was taken down is not screened again."""
    sighted = (_sighted(one, source, removed) for one in taken)
    if screen is None:
        yield from ((row, one, None) for row, one in sighted)
        return
    for (row, one), verdict in screen.screen(sighted, _content):
        yield escalations.judged(row, verdict), one, verdict


def _sighted(one: Taken, source: str, removed: dict[str, str]) -> tuple[dict[str, Any], Taken]:
    sha256 = None if one.content is None else hashlib.sha256(one.content).hexdigest()
    status, reason = ("refused" if sha256 is None else "stored"), one.reason
    if sha256 in removed:
        one, reason = one._replace(content=None), removed[str(sha256)]
        status = sightings.status_of_removed(reason)
    row: dict[str, Any] = {
        "sha256": sha256,
        "label": one.label,
        "origin": one.origin,
        "source": source,
        "fetched_at": datetime.fromtimestamp(one.modified, UTC),
        "bytes": one.size,
        "status": status,
        "reason": reason,
    }
    return row, one


def _content(sighted: tuple[dict[str, Any], Taken]) -> bytes | None:
    return sighted[1].content


def _extension(name: str) -> str:
    suffix = Path(name).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ""
