"""Tables on disk: written whole or not at all, read with a message a person can act on."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.files import REBUILD, atomic, missing


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
    """Read a table, or say which file is missing, broken or lacks a column."""
    try:
        return pd.read_parquet(path, columns=None if columns is None else list(columns))
    except FileNotFoundError:
        raise UserError(missing(path)) from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        lacking = _lacking(path, columns)
        if lacking:
            raise UserError(f"{path} lacks the column(s) {', '.join(lacking)}. {REBUILD.format(path=path)}") from None
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is not a readable parquet file ({reason}). {REBUILD.format(path=path)}") from None


def read_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a csv of texts (empty cells stay empty texts); it must have `columns`."""
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise UserError(missing(path)) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a readable csv ({error}). Its header is {','.join(columns)}.") from None
    lacking = [column for column in columns if column not in frame.columns]
    if lacking:
        raise UserError(f"{path} lacks the column(s) {', '.join(lacking)}. Its header is {','.join(columns)}.")
    return frame


def _lacking(path: Path, columns: Sequence[str] | None) -> list[str]:
    try:
        present = pq.read_schema(path).names
    except (pa.ArrowInvalid, OSError):
        return []
    return [column for column in columns or () if column not in present]
