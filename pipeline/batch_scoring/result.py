"""The columns of a result, and its file: parquet, csv or jsonl, with the same rows in the same order."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import spreadsheet_cells
from pipeline.core.errors import UserError
from pipeline.core.files import atomic, check_target
from pipeline.data.escalations import ESCALATED
from pipeline.serving.decision import UNSAFE

STAMP = "stamp"  # only in parts: shows whether an input is still the same


def schema(labels: Sequence[str]) -> pa.Schema:
    """Return the columns of a part. If an input could not be read, its numbers and decision are null.

    `frames` is the number of a picture's frames (1 for a still), `frames_scored` how many of them were scored, and
    `deciding_frame` the index of the one that the row's probabilities, score and decision belong to.
    """
    text, number, whole = pa.string(), pa.float64(), pa.int64()
    columns = [("path", text), ("sha256", text), *((f"p_{label}", number) for label in labels), ("unsafe", number)]
    columns += [("threshold", number), ("decision", text)]
    columns += [("frames", whole), ("frames_scored", whole), ("deciding_frame", whole)]
    columns += [("error", text), ("model", text), (STAMP, text)]
    return pa.schema(columns)


@dataclass
class Tally:
    """Counts of the rows of a result, by outcome."""

    rows: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    flagged: int = 0
    escalated: int = 0

    def add(self, table: pa.Table) -> None:
        """Count the rows of a part."""
        self.rows += table.num_rows
        codes = Counter(error.partition(":")[0] for error in table["error"].to_pylist() if error)
        self.escalated += codes.pop(ESCALATED, 0)
        self.unreadable.update(codes)
        self.flagged += table["decision"].to_pylist().count(UNSAFE)

    @property
    def scored(self) -> int:
        """Number of inputs that have probabilities."""
        return self.rows - self.unreadable.total() - self.escalated


class Writer(Protocol):
    """Writes the rows part by part."""

    def write(self, table: pa.Table) -> None:
        """Append rows."""

    def __enter__(self) -> Self:
        """Open the file."""

    def __exit__(self, *_: object) -> None:
        """Close it."""


def check(out: Path) -> None:
    """Check the name of a result before any work is done.

    Raises:
        UserError: its suffix is not a known format, or no file can be written there.

    """
    check_target(out)
    if out.suffix not in _WRITERS:
        raise UserError(f"{out}: a result ends in {', '.join(_WRITERS)}")


def assemble(tables: Iterable[pa.Table], out: Path, labels: Sequence[str]) -> Tally:
    """Write all parts, in order, to `out`, atomically; return the counts of their rows."""
    tally = Tally()
    columns = schema(labels).remove(schema(labels).get_field_index(STAMP))
    with atomic(out) as temporary, _WRITERS[out.suffix](temporary, columns) as writer:
        for table in tables:
            tally.add(table)
            writer.write(table.drop_columns([STAMP]))
    return tally


class _Text:
    """A text file in UTF-8."""

    def __init__(self, path: Path, columns: pa.Schema) -> None:
        self._stack = ExitStack()
        self._path, self._columns = path, columns

    def __enter__(self) -> Self:
        self._file = self._stack.enter_context(self._path.open("w", encoding="utf-8", newline=""))
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _begin(self) -> None:
        """Write the header, if the format has one."""


class _Jsonl(_Text):
    def write(self, table: pa.Table) -> None:
        self._file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist())


class _Csv(_Text):
    """Texts are quoted, numbers are not, and missing values are empty.

    A text that a spreadsheet would take for a formula, such as a file's name, gets a ' before it, as OWASP advises.
    """

    def _begin(self) -> None:
        self._rows = csv.writer(self._file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        self._rows.writerow(self._columns.names)

    def write(self, table: pa.Table) -> None:
        self._rows.writerows(self._cells(table))

    def _cells(self, table: pa.Table) -> Iterator[list[Any]]:
        for row in table.to_pylist():
            yield [spreadsheet_cells.guard(cell) if isinstance(cell, str) else cell for cell in row.values()]


class _Parquet:
    def __init__(self, path: Path, columns: pa.Schema) -> None:
        self._path, self._columns = path, columns

    def __enter__(self) -> Self:
        self._file = pq.ParquetWriter(self._path, self._columns)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, table: pa.Table) -> None:
        self._file.write_table(table)


_WRITERS: dict[str, Any] = {".parquet": _Parquet, ".csv": _Csv, ".jsonl": _Jsonl}
