"""Tables on disk: written whole or not at all; what is wrong with one is a UserError."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import files
from pipeline.core.errors import UserError
from pipeline.core.files import REBUILD, atomic, missing_message

# What a broken parquet file raises: arrow's own errors, and those of parsing its metadata.
_BROKEN = (pa.ArrowException, ValueError, TypeError, LookupError)


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` without its index. Equal frames give equal bytes."""
    with atomic(path) as temporary:
        frame.to_parquet(temporary, index=False)


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` as UTF-8 csv without its index, with line feeds on every system."""
    text = frame.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # a file's name may hold one; readers take an unquoted one for a line end
        text = frame.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return a table, or the given columns of it.

    Raises:
        UserError: the file is missing, a folder or broken, or lacks a column.

    """
    if path.is_dir():  # pandas would read it as a data set of several files
        raise UserError(files.folder_message(path))
    try:
        return pd.read_parquet(path, columns=None if columns is None else list(columns))
    except FileNotFoundError:
        raise UserError(missing_message(path)) from None
    except (*_BROKEN, OSError) as error:
        lacking = _lacking(path, columns)
        if lacking:
            raise UserError(f"{path} lacks the column(s) {', '.join(lacking)}. {REBUILD.format(path=path)}") from None
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is not a readable parquet file ({reason}). {REBUILD.format(path=path)}") from None


def read_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return a csv file's cells as texts, empty ones as empty texts.

    Raises:
        UserError: the file is missing, a folder or no csv, or lacks one of `columns`.

    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise UserError(missing_message(path)) from None
    except IsADirectoryError:
        raise UserError(files.folder_message(path)) from None
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
