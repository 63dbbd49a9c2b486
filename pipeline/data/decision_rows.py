"""Appends people's decisions to data/decisions.csv, each once."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.core import csv_rows, files
from pipeline.core.csv_rows import Column
from pipeline.data import annotation_rows
from pipeline.data.annotation_files import DECISIONS

_SAME = ("sha256", "new_label", "reviewer", "decided_at")  # a row that agrees in these is the same decision


def append(path: Path, rows: Sequence[Mapping[str, str]]) -> int:
    """Append the rows that the file does not hold yet, and return how many these were; none writes nothing.

    Args:
        path: A valid file (`annotation_files.decisions` reads it); it is made if there is none.
        rows: The columns of `annotation_files.DECISIONS`, texts.

    Raises:
        UserError: the file is no such table.

    """
    held = {tuple(row) for row in _present(path)} if path.exists() else set()
    lines = [{name: annotation_rows.one_line(text) for name, text in row.items()} for row in rows]
    new = [row for row in lines if tuple(row[name] for name in _SAME) not in held]
    if not new:
        return 0
    if not path.exists():
        files.write_text(",".join(DECISIONS) + "\n", path)
    annotation_rows.append(path, new)
    return len(new)


def _present(path: Path) -> list[tuple[str, ...]]:
    rows = csv_rows.read(path, [Column(name) for name in DECISIONS])
    return list(rows[list(_SAME)].itertuples(index=False, name=None))
