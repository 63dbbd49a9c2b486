"""What img2dataset says of each URL: the table beside its archive, also of those that it could not download.

The table is as untrusted as the archive: a sandbox worker reads it, only the columns that are needed, within limits.
"""

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from pipeline.images import sandbox
from pipeline.images.limits import Rejected

if TYPE_CHECKING:
    import pyarrow.parquet as pq

SUCCESS = "success"  # img2dataset's status of a sample that is in the archive
MAX_BYTES = 256 * 2**20  # of the file, and of the columns that are read; img2dataset's own have one or two
MAX_ROWS = 200_000  # img2dataset puts 10,000 into a table unless it is made to do otherwise
_MAX_TEXT = 2_048
_LIMITS = sandbox.WorkerLimits(seconds=60, memory_mb=1_024)
_COLUMNS = ("key", "status", "url", "error_message")


class Row(NamedTuple):
    """A row: the sample's key, img2dataset's status, the URL, why it failed, and its label; "" where it has none."""

    key: str
    status: str
    url: str
    message: str
    label: str


class _Task(NamedTuple):
    path: bytes
    label_key: str | None


def read(path: bytes, label_key: str | None) -> list[Row] | str:
    """Return the table's rows; [] if it is not there, or not img2dataset's; why it is refused, `code: detail`.

    `label_key`: the column that has the label.
    """
    if not os.path.lexists(path):
        return []
    (outcome,) = sandbox.run(_read, [_Task(path, label_key)], _LIMITS)
    if isinstance(outcome, sandbox.Failure):
        return f"broken_table: {outcome}"
    return [Row(*row) for row in outcome]


def _read(task: _Task) -> list[tuple[str, ...]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pa.set_memory_pool(pa.system_memory_pool())
    try:
        handle = os.open(task.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode) or about.st_size > MAX_BYTES:
                raise Rejected("too_large", f"no regular file of at most {MAX_BYTES:,} bytes")
            return _rows(pq.ParquetFile(file, pre_buffer=False), task.label_key)
    except (OSError, pa.ArrowException, ValueError, TypeError, LookupError) as error:
        raise Rejected("unreadable", " ".join(str(error).split())[:200]) from None


def _rows(table: "pq.ParquetFile", label_key: str | None) -> list[tuple[str, ...]]:
    import pyarrow as pa

    schema = table.schema_arrow
    wanted = [*_COLUMNS, *([label_key] if label_key is not None and label_key not in _COLUMNS else [])]
    texts = {
        name
        for name in wanted
        if (number := schema.get_field_index(name)) >= 0
        and (pa.types.is_string(schema.types[number]) or pa.types.is_large_string(schema.types[number]))
    }
    if not {"key", "status"} <= texts:
        return []
    if table.metadata.num_rows > MAX_ROWS:
        raise Rejected("too_large", f"{table.metadata.num_rows:,} rows, more than {MAX_ROWS:,}")
    size = sum(
        column.total_uncompressed_size
        for group in map(table.metadata.row_group, range(table.metadata.num_row_groups))
        for column in map(group.column, range(group.num_columns))
        if column.path_in_schema in texts
    )
    if size > MAX_BYTES:
        raise Rejected("too_large", f"{size:,} bytes of text, more than {MAX_BYTES:,}")
    rows: list[tuple[str, ...]] = []
    for batch in table.iter_batches(batch_size=1_000, columns=sorted(texts)):
        columns = {name: batch.column(name).to_pylist() for name in texts}
        empty = [None] * batch.num_rows
        label = columns.get(label_key, empty) if label_key is not None else empty
        texts_of_rows = zip(*(columns.get(name, empty) for name in _COLUMNS), label, strict=True)
        rows += [tuple((text or "")[:_MAX_TEXT] for text in row) for row in texts_of_rows]
        if len(rows) > MAX_ROWS:
            raise Rejected("too_large", f"more than {MAX_ROWS:,} rows, though its head says fewer")
    return rows
