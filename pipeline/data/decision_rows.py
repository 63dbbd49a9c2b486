"""Appends rows to data/decisions.csv: whole or not at all, in the file's own order of columns and line ends."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.core import csv_rows, files
from pipeline.core.csv_rows import Column
from pipeline.data.annotation_files import DECISIONS

_MARK = b"\xef\xbb\xbf"
_SAME = ("sha256", "new_label", "reviewer", "decided_at")  # a row that agrees in these is the same decision


def append(path: Path, rows: Sequence[Mapping[str, str]]) -> int:
    """Append the rows that the file does not hold yet, and return how many these were; none writes nothing.

    Args:
        path: A valid file (`annotation_files.decisions` reads it); it is made if there is none.
        rows: The columns of `annotation_files.DECISIONS`, texts.

    Raises:
        UserError: the file is no such table.

    """
    data = path.read_bytes() if path.exists() else (",".join(DECISIONS) + "\n").encode()
    held = {tuple(row) for row in _present(path)} if path.exists() else set()
    lines = [{name: _one_line(text) for name, text in row.items()} for row in rows]
    new = [row for row in lines if tuple(row[name] for name in _SAME) not in held]
    if not new:
        return 0
    text = data.removeprefix(_MARK).decode("utf-8")
    line_end = "\r\n" if "\r\n" in text else "\n"
    header = [cell.strip() for cell in next(csv.reader(io.StringIO(text)))]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, header, lineterminator=line_end)
    writer.writerows({name: row[name] for name in header} for row in new)
    gap = "" if text.endswith(("\n", "\r")) else line_end
    with files.atomic(path) as temporary:
        temporary.write_bytes(data + (gap + buffer.getvalue()).encode())
    return len(new)


def _present(path: Path) -> list[tuple[str, ...]]:
    rows = csv_rows.read(path, [Column(name) for name in DECISIONS])
    return list(rows[list(_SAME)].itertuples(index=False, name=None))


def _one_line(text: str) -> str:
    """Return a cell as the reader takes it: without line ends, control characters and outer spaces."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
