"""Tables and small documents on disk: written whole or not at all, read with a message a person can act on."""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it over `path` on success, remove it on any failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` without its index. Equal frames give equal bytes."""
    with atomic(path) as temporary:
        frame.to_parquet(temporary, index=False)


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` as UTF-8 csv without its index, with `\\n` line ends on every system."""
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


def write_json(document: Any, path: Path) -> None:
    """Write `document` as sorted, indented JSON."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON document, or say which file is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(_missing(path)) from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}). {_REBUILD.format(path=path)}") from None


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table, or say which file is missing, broken or lacks a column."""
    try:
        return pd.read_parquet(path, columns=None if columns is None else list(columns))
    except FileNotFoundError:
        raise UserError(_missing(path)) from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        lacking = _lacking(path, columns)
        if lacking:
            raise UserError(f"{path} lacks the column(s) {', '.join(lacking)}. {_REBUILD.format(path=path)}") from None
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is not a readable parquet file ({reason}). {_REBUILD.format(path=path)}") from None


def read_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a csv of texts (empty cells stay empty texts); it must have `columns`."""
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise UserError(_missing(path)) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a readable csv ({error}). Its header is {','.join(columns)}.") from None
    lacking = [column for column in columns if column not in frame.columns]
    if lacking:
        raise UserError(f"{path} lacks the column(s) {', '.join(lacking)}. Its header is {','.join(columns)}.")
    return frame


_REBUILD = "Delete {path} and run `dvc repro` (a stage's output), or `dvc checkout` (tracked data)."


def _missing(path: Path) -> str:
    return f"{path} does not exist. Run `dvc repro --pull`, which makes what is missing."


def _lacking(path: Path, columns: Sequence[str] | None) -> list[str]:
    try:
        present = pq.read_schema(path).names
    except (pa.ArrowInvalid, OSError):
        return []
    return [column for column in columns or () if column not in present]
