"""Appends people's decisions to data/decisions.csv, each once."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.core.csv_rows import Column
from pipeline.data import annotation_rows
from pipeline.data.annotation_files import DECISIONS

_SAME = ("sha256", "new_label", "reviewer", "decided_at")  # a row that agrees in these is the same decision


def append(path: Path, rows: Sequence[Mapping[str, str]]) -> int:
    """Append the rows, with the columns of `annotation_files.DECISIONS`, as `annotation_rows.append_missing` does."""
    return annotation_rows.append_missing(path, rows, [Column(name) for name in DECISIONS], _SAME)
