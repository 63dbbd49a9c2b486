"""Names of the files of a batch: they sort by number, and differ if the contents differ.

    b00000012-reddit-1f0c5a9e77d2.parquet      in data/sightings
    b00000012-reddit-1f0c5a9e77d2-00000.tar    in data/shards

The digest is of the batch's contents: two people who ingest a twelfth batch, each on a branch, get different names
unless the bytes are the same. Earlier versions wrote names like `0012-reddit`, up to 9999; digits sort before `b`.
"""

import re
from pathlib import Path

REPORTS = "reports-"  # how the source of accepted public reports begins; their date follows
_OF_REPORTS = re.compile(REPORTS + r"\d{4}-\d{2}-\d{2}")

_NUMBER = re.compile(r"b?(\d+)(?!\d)")
_OLD_SHARD = re.compile(r"(\d{4,}-.+)-\d{5,}\.tar", re.DOTALL)
_DIGITS = 12  # of the digest: a collision has probability 1 / 2e14, and only matters for the same number and source


def name(number: int, source: str, digest: str) -> str:
    """Return a batch's name."""
    return f"b{number:08d}-{source}-{digest[:_DIGITS]}"


def is_of_reports(source: str) -> bool:
    """Whether a source's pictures came in with accepted public reports."""
    return _OF_REPORTS.fullmatch(source) is not None


def sort_key(path: Path) -> tuple[int, str]:
    """Return the sort key of a batch's file: its number, then its name. A name without a number comes first."""
    number = _NUMBER.match(path.name)
    return (int(number[1]) if number else -1, path.name)


def sighting_tables(folder: Path) -> list[Path]:
    """Return the sightings of every batch in `folder`, in the order in which they were ingested."""
    return sorted(folder.glob("*.parquet"), key=sort_key)


def shard_files(folder: Path) -> list[Path]:
    """Return the shards of every batch in `folder`, in the order in which they were ingested."""
    return sorted(folder.glob("*.tar"), key=sort_key)


def next_number(folder: Path) -> int:
    """Return the number of the batch that comes after all in `folder`, from 1."""
    return 1 + max((sort_key(path)[0] for path in folder.glob("*.parquet")), default=0)


def batch_of_old_shard(shard: str) -> str | None:
    """Return the batch of a shard that an earlier version named; None for other names."""
    match = _OLD_SHARD.fullmatch(shard)
    return match[1] if match else None
