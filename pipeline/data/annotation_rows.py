"""Append rows to an annotation file as people have it: their order of columns, line ends and byte order mark stay."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.core import csv_rows, files
from pipeline.core.csv_rows import Column
from pipeline.core.errors import UserError


def append(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Append rows to a file that `annotation_files` has read; written whole or not at all.

    Raises:
        UserError: a cell goes over several lines, or names a column that the file does not have.

    """
    old = files.read_bytes(path, remedy="`dvc checkout data.dvc` restores it.")
    text = old.decode("utf-8-sig")
    header = next(row for row in csv.reader(io.StringIO(text, newline="")) if any(row))
    columns = [name.strip() for name in header]
    end = "\r\n" if "\r\n" in text else "\n"
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator=end)
    for row in rows:
        if strangers := set(row) - set(columns):
            raise UserError(f"{path} has no column {', '.join(sorted(strangers))}")
        if any("\n" in cell or "\r" in cell for cell in row.values()):
            raise UserError(f"a cell of {path} cannot go over several lines")
        writer.writerow(row)
    gap = "" if not text or text.endswith(("\n", "\r")) else end
    with files.atomic(path) as temporary:
        temporary.write_bytes(old + (gap + buffer.getvalue()).encode())


def append_missing(
    path: Path, rows: Sequence[Mapping[str, str]], columns: Sequence[Column], identity: Sequence[str]
) -> int:
    """Append the rows that the file does not hold yet, and return how many these were; none writes nothing.

    Args:
        path: The file; it is made, with `columns`, if there is none.
        rows: Texts by column.
        columns: Those that the file has.
        identity: The columns in which equal rows agree; those of new rows are appended once, too.

    Raises:
        UserError: the file is no such table.

    """
    present = csv_rows.read(path, columns)[list(identity)].to_numpy() if path.exists() else ()
    held, new = {tuple(row) for row in present}, []
    for row in rows:
        line = {name: one_line(text) for name, text in row.items()}
        key = tuple(line[name] for name in identity)
        if key not in held:
            held.add(key)
            new.append(line)
    if not new:
        return 0
    if not path.exists():
        files.write_text(",".join(column.name for column in columns) + "\n", path)
    append(path, new)
    return len(new)


def one_line(text: str) -> str:
    """Return a cell as the reader takes it: without line ends, control characters and outer spaces."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
