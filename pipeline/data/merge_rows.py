"""Merge the rows of an append-only file of two branches: none is lost, none is there twice, the latest one is last."""

import csv
import heapq
import io
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.core import csv_rows
from pipeline.core.errors import UserError

Row = tuple[str, ...]


def merge_rows(
    base: Sequence[Row], ours: Sequence[Row], theirs: Sequence[Row], time: Callable[[Row], str]
) -> list[Row]:
    """Return the rows of `base` that neither side deleted, then the new ones of both sides, each once.

    The new rows stand in order of `time` (ISO 8601), as the last row about a picture wins; those of one side keep their
    order. It makes no difference which side is whose.
    """
    present = [Counter(rows) & Counter(base) for rows in (ours, theirs)]
    staying = present[0] & present[1]
    rows = []
    for row in base:
        if staying[row] > 0:
            staying[row] -= 1
            rows.append(row)
    sides = sorted(_new(base, side) for side in (ours, theirs))
    common = set(sides[0]) & set(sides[1])
    # What both added stands where it comes first.
    seen: set[Row] = set()
    for row in heapq.merge(*sides, key=time):
        if row not in common or row not in seen:
            seen.add(row)
            rows.append(row)
    return rows


def _new(base: Sequence[Row], side: Sequence[Row]) -> list[Row]:
    known = Counter(base)
    rows = []
    for row in side:
        if known[row] > 0:
            known[row] -= 1
        else:
            rows.append(row)
    return rows


def merge_files(name: str, column: str, base: Path | None, ours: Path | None, theirs: Path | None) -> tuple[bytes, int]:
    """Return the merged csv, with the byte order mark and line ends of `ours`, and how many rows `ours` did not have.

    `name` is for messages, `column` the one with the time ("" for none); None for a file that a version does not have.

    Raises:
        UserError: a file is no csv, or has other columns.

    """
    tables = [None if path is None else csv_rows.cells(path) for path in (base, ours, theirs)]
    header = next(table[0] for table in (*tables[1:], tables[0]) if table is not None)
    before, mine, other = ([] if table is None else _ordered(name, header, *table) for table in tables)
    position = header.index(column) if column in header else None
    rows = merge_rows(before, mine, other, lambda row: "" if position is None else row[position])
    return _encode([tuple(header), *rows], ours), len(set(rows) - set(mine))


def _ordered(name: str, header: Sequence[str], own: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Row]:
    """Return rows with their cells in the order of `header`."""
    if sorted(own) != sorted(header) or any(len(row) != len(own) for row in rows):
        raise UserError(
            f"{name} has other columns on the two branches, or a broken row: correct it on one, commit, merge again."
        )
    order = [own.index(column) for column in header]
    return [tuple(row[position] for position in order) for row in rows]


def _encode(rows: Sequence[Row], like: Path | None) -> bytes:
    old = b"" if like is None else like.read_bytes()
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n" if b"\r\n" in old else "\n").writerows(rows)
    return (b"\xef\xbb\xbf" if old.startswith(b"\xef\xbb\xbf") else b"") + buffer.getvalue().encode()
