"""Makes a batch of data/ from lists and the journal: a sighting for each URL and label, and a table of the fetches."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.data import batch_names, batch_writer, folder, ingesting, removed_contents, sightings
from pipeline.data.escalated_contents import EscalatedContents
from pipeline.web_ingest.journal import REFUSED, STORED, Journal, Outcome
from pipeline.web_ingest.lists import Item

# Of data/fetches/<batch>.parquet: one row for each sighting of the batch, in its order. `sha256` is that of the bytes
# that came, also where they were not stored; `changed_from` the one that this URL had when it was last stored.
COLUMNS = {
    "origin": "str", "label": "str", "final_url": "str", "http_status": "int64", "content_type": "str", "etag": "str",
    "bytes": "int64", "sha256": "str", "attempts": "int64", "status": "str", "reason": "str", "changed_from": "str",
}  # fmt: skip


@dataclass
class Batch:
    """What came of the lists: every row, new or not; `name` is None if no sighting was new.

    `rows`: sightings, as data/sightings has them. `changed`: (URL, sha256 before, sha256 now).
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    changed: list[tuple[str, str, str]] = field(default_factory=list)
    name: str | None = None
    sighted: int = 0
    stored: int = 0
    shards: int = 0

    def count(self, status: str) -> int:
        """Return the number of rows with a status."""
        return Counter(row["status"] for row in self.rows)[status]


def write(items: Sequence[Item], journal: Journal, data: Path, source: str) -> Batch:
    """Append what is new to `data` as one batch; every item's URL has its outcome in the journal.

    A content that is stored already gets a sighting only. The same bytes at the same URL, under the same label and
    source, are no new sighting; other bytes are. A content that was taken down is never stored. What screens matched
    is recorded first.
    """
    folder.prepare(data)
    seen, removed = sightings.load(data / "sightings"), removed_contents.reasons(data / "sightings")
    known = set(seen.loc[seen["status"] == STORED, "sha256"])
    writer = batch_writer.Writer(data, known)
    earlier, last = ingesting.identities(seen), _last_stored(seen, source)
    batch, new, facts, escalated = Batch(), [], [], EscalatedContents(data, source)
    for item in items:
        outcome = _outcome(journal, item.url)
        row = _sighting(item, outcome, source, removed)
        batch.rows.append(row)
        if outcome.sha256 is not None:
            escalated.add(row, journal.verdict(outcome.sha256), "ingest urls")
        before = last.get((item.url, item.label)) if outcome.sha256 else None
        changed = before is not None and before != outcome.sha256
        if changed:
            batch.changed.append((item.url, str(before), str(outcome.sha256)))
        if (row["sha256"], item.label, item.url, source) in earlier:
            continue
        new.append(row)
        facts.append(_fact(row, outcome, before if changed else None))
        if row["status"] == STORED and outcome.sha256 not in known:
            writer.add(str(outcome.sha256), outcome.extension, journal.content(str(outcome.sha256)))
    escalated.record()
    if new:
        number = batch_names.next_number(data / "sightings")
        fetches = pd.DataFrame(facts, columns=list(COLUMNS)).astype(COLUMNS)
        batch.name = writer.commit(number, source, sightings.frame(new), fetches=fetches)
    batch.sighted, batch.stored, batch.shards = len(new), writer.stored, writer.shards
    return batch


def _outcome(journal: Journal, url: str) -> Outcome:
    outcome = journal.outcome(url)
    if outcome is None:
        raise KeyError(url)
    return outcome


def _sighting(item: Item, outcome: Outcome, source: str, removed: dict[str, str]) -> dict[str, Any]:
    status, reason, sha256 = outcome.status, outcome.reason, outcome.sha256
    if sha256 in removed:
        reason = removed[str(sha256)]
        status = sightings.status_of_removed(reason)
    elif status == STORED and (unexpected := _unexpected(item, outcome)):
        status, reason, sha256 = REFUSED, unexpected, None
    return {
        "sha256": sha256,
        "label": item.label,
        "origin": item.url,
        "source": source,
        "fetched_at": pd.Timestamp(outcome.fetched_at),
        "bytes": outcome.bytes,
        "status": status,
        "reason": reason,
    }


def _unexpected(item: Item, outcome: Outcome) -> str:
    if item.sha256 is not None and item.sha256 != outcome.sha256:
        return f"unexpected_content: sha256 is {outcome.sha256}"
    if item.etag is not None and _bare(item.etag) != _bare(outcome.etag):
        return f"unexpected_content: ETag is {outcome.etag or 'missing'}"
    return ""


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def _fact(row: dict[str, Any], outcome: Outcome, before: str | None) -> dict[str, Any]:
    shared = {name: row[name] for name in ("origin", "label", "bytes", "status", "reason")}
    answer = {name: getattr(outcome, name) for name in ("final_url", "http_status", "content_type", "etag", "attempts")}
    return shared | answer | {"sha256": outcome.sha256, "changed_from": before}


def _last_stored(seen: pd.DataFrame, source: str) -> dict[tuple[str, str], str]:
    """Return the sha256 that each URL of a source had last, by URL and label."""
    rows = seen[(seen["source"] == source) & seen["sha256"].notna()]
    return dict(zip(zip(rows["origin"], rows["label"], strict=True), rows["sha256"], strict=True))
