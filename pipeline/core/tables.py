"""Tables on disk: written whole or not at all, read with a message a person can act on."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import files
from pipeline.core.errors import UserError
from pipeline.core.files import REBUILD, atomic, missing

# What a broken parquet raises: arrow's own errors, and those of what pandas and arrow read in its metadata.
_BROKEN = (pa.ArrowException, ValueError, TypeError, LookupError)


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` without its index. Equal frames give equal bytes."""
    with atomic(path) as temporary:
        frame.to_parquet(temporary, index=False)


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` as UTF-8 csv without its index, with line feeds on every system."""
    text = frame.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # a file's name may hold one: unquoted, every reader takes it for a line end
        text = frame.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table, or say which file is missing, a folder, broken or lacks a column."""
    if path.is_dir():  # which pandas would take for a data set of several files
        raise UserError(files.folder(path))
    try:
        return pd.read_parquet(path, columns=None if columns is None else list(columns))
    except FileNotFoundError:
        raise UserError(missing(path)) from None
    except (*_BROKEN, OSError) as error:
        lacking = _lacking(path, columns)
        if lacking:
            raise UserError(f"{path} lacks the column(s) {', '.join(lacking)}. {REBUILD.format(path=path)}") from None
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is not a readable parquet file ({reason}). {REBUILD.format(path=path)}") from None


def read_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a csv of texts (empty cells stay empty texts); it must have `columns`."""
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise UserError(missing(path)) from None
    except IsADirectoryError:
        raise UserError(files.folder(path)) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not a readable csv ({reason}). Its header is {','.join(columns)}.") from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas took the first cells of longer rows for names of rows
        reason = "its rows have more cells than its header"
        raise UserError(f"{path} is not a readable csv ({reason}). Its header is {','.join(columns)}.")
    lacking = [column for column in columns if column not in frame.columns]
    if lacking:
        raise UserError(f"{path} lacks the column(s) {', '.join(lacking)}. Its header is {','.join(columns)}.")
    return frame


def _lacking(path: Path, columns: Sequence[str] | None) -> list[str]:
    try:
        present = pq.read_schema(path).names
    except (*_BROKEN, OSError):
        return []
    return [column for column in columns or () if column not in present]
