"""How the files of a batch are named: sorted by number, and never the same for other contents, whoever made them.

    b00000012-reddit-1f0c5a9e77d2.parquet      in data/sightings
    b00000012-reddit-1f0c5a9e77d2-00000.tar    in data/shards

The digest is over the batch's contents: two people who both ingest a twelfth batch, each on a branch of their own, make
different names, unless they made the same bytes. Before, a name was `0012-reddit`, up to 9999; digits sort before `b`.
"""

import re
from pathlib import Path

_NUMBER = re.compile(r"b?(\d+)(?!\d)")
_OLD_SHARD = re.compile(r"(\d{4,}-.+)-\d{5,}\.tar", re.DOTALL)
_DIGITS = 12  # of the digest: by chance alike in 1 of 2e14 pairs, and only of the same number and source


def name(number: int, source: str, digest: str) -> str:
    """Return a batch's name."""
    return f"b{number:08d}-{source}-{digest[:_DIGITS]}"


def order(path: Path) -> tuple[int, str]:
    """Return what to sort a batch's files by: its number, then its name. A name without a number comes first."""
    number = _NUMBER.match(path.name)
    return (int(number[1]) if number else -1, path.name)


def tables(folder: Path) -> list[Path]:
    """Return the sightings of every batch in `folder`, in the order in which they were ingested."""
    return sorted(folder.glob("*.parquet"), key=order)


def shard_files(folder: Path) -> list[Path]:
    """Return the shards of every batch in `folder`, in the order in which they were ingested."""
    return sorted(folder.glob("*.tar"), key=order)


def next_number(folder: Path) -> int:
    """Return the number of the batch that comes after all in `folder`, from 1."""
    return 1 + max((order(path)[0] for path in folder.glob("*.parquet")), default=0)


def of_old_shard(shard: str) -> str | None:
    """Return the batch that a shard's file name belongs to; None unless it is named as earlier versions did."""
    found = _OLD_SHARD.fullmatch(shard)
    return found[1] if found else None
