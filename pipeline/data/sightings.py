"""The sightings: one row per file in data/sightings/*.parquet, one table per batch, append-only.

A content that was taken down for good since (pipeline/data/removed_contents.py) is read with the status `removed`, or
`escalated` where a screen had matched it.
"""

from pathlib import Path

import pandas as pd

from pipeline.core import tables
from pipeline.core.errors import UserError
from pipeline.data import batch_names, removed_contents
from pipeline.data.escalations import ESCALATED, is_escalated

COLUMNS = ("sha256", "label", "origin", "source", "fetched_at", "bytes", "status", "reason")
SAMPLE_SOURCE = "bundled-sample"
REMOVED = "removed"  # the status of a file whose content was taken down: only its hash stays
GONE = (REMOVED, ESCALATED)  # nothing of these is stored, or ever will be

_TYPES = dict.fromkeys(("sha256", "label", "origin", "source", "status", "reason"), "str") | {"bytes": "int64"}


def empty() -> pd.DataFrame:
    """Return a sightings table without rows."""
    return frame([])


def frame(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Return rows as a sightings table with its exact column types."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["fetched_at"] = pd.to_datetime(table["fetched_at"], utc=True).astype("datetime64[us, UTC]")
    return table.astype(_TYPES)


def load(folder: Path) -> pd.DataFrame:
    """Return every sighting, batch by batch, in the order in which they were ingested."""
    parts = [tables.read_parquet(path, COLUMNS) for path in batch_names.sighting_tables(folder)]
    return mark_removed(pd.concat(parts, ignore_index=True), folder) if parts else empty()


def mark_removed(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return sightings with the status, `removed` or `escalated`, and reason of what was taken down since."""
    reason = rows["sha256"].map(removed_contents.reasons(folder)).astype("str")
    gone = reason.notna()
    status = reason.fillna("").map(status_of_removed).astype("str")
    return rows.assign(status=rows["status"].mask(gone, status), reason=rows["reason"].mask(gone, reason))


def status_of_removed(reason: str) -> str:
    """Return the status of a content that was taken down for a reason of `removed_contents.reasons`."""
    return ESCALATED if is_escalated(reason) else REMOVED


def first_batches(folder: Path) -> pd.Series:
    """Return the number (from 0, in order of ingest) of the first batch with each content, by sha256."""
    contents = [tables.read_parquet(path, COLUMNS)["sha256"].dropna() for path in batch_names.sighting_tables(folder)]
    numbers = pd.concat([pd.Series(number, index=sha256) for number, sha256 in enumerate(contents)])
    return numbers.groupby(level=0).min()


def load_nonempty(folder: Path) -> pd.DataFrame:
    """Return every sighting, as `load` does.

    Raises:
        UserError: nothing was ingested.

    """
    sightings = load(folder)
    if sightings.empty:
        raise UserError(f"{folder} holds no sightings. Take in pictures first: `nsfw ingest folder DIR`.")
    return sightings
