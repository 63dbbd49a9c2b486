"""What was seen: one row per file in data/sightings/*.parquet, one table per batch, append-only."""

from pathlib import Path

import pandas as pd

from pipeline import tables
from pipeline.errors import UserError

COLUMNS = ("sha256", "label", "origin", "source", "fetched_at", "bytes", "status", "reason")
SAMPLE_SOURCE = "bundled-sample"

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
    parts = [tables.read_parquet(path, COLUMNS) for path in sorted(folder.glob("*.parquet"))]
    return pd.concat(parts, ignore_index=True) if parts else empty()


def arrival(folder: Path) -> pd.Series:
    """Return the number of the batch (from 0, as they were ingested) that brought each content first, by sha256."""
    batches = [tables.read_parquet(path, COLUMNS)["sha256"].dropna() for path in sorted(folder.glob("*.parquet"))]
    numbers = pd.concat([pd.Series(number, index=sha256) for number, sha256 in enumerate(batches)])
    return numbers.groupby(level=0).min()


def load_some(folder: Path) -> pd.DataFrame:
    """Like `load`, for a stage: without any sighting there is nothing to do.

    Raises:
        UserError: nothing was ingested.

    """
    sightings = load(folder)
    if sightings.empty:
        raise UserError(f"{folder} holds no sightings. Take in pictures first: `nsfw ingest folder DIR`.")
    return sightings
