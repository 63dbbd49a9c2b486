"""Comma-separated files that people edit, read strictly: nothing is guessed, and no row is shifted or skipped.

A byte order mark, line ends of every system, spaces around a cell, columns in any order and empty lines are accepted.
Everything else is an error that names the line.
"""

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.core.errors import UserError
from pipeline.core.files import read_bytes

MAX_LISTED = 20  # wrong rows that a message lists; it counts the rest

_RESTORE = "It is part of data/, which `dvc checkout data.dvc` restores (`dvc pull data.dvc` fetches it)."
_SAVE = 'Save it as "CSV UTF-8 (comma delimited)" (Excel), or with the character set UTF-8 (LibreOffice).'
_MARKS = {  # the longer ones first: UTF-32's mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


@dataclass(frozen=True)
class Column:
    """A column: its name, how a cell is parsed (a ValueError says what is wrong), whether every row needs a value."""

    name: str
    parse: Callable[[str], str] = str
    required: bool = False


Problem = tuple[int, str]  # the line's number, from 1, and what is wrong with it


def read(path: Path, columns: Sequence[Column]) -> pd.DataFrame:
    """Return the file's rows: the `columns` as texts, and `line`, the number of the row's line in the file, from 1.

    Raises:
        UserError: the file is missing, not comma-separated UTF-8, or has other columns or wrong rows (named by line).

    """
    rows = _rows(path)
    names = ",".join(column.name for column in columns)
    line, header = next(rows, (1, []))
    if not header:
        raise UserError(f"{path} is empty. Its first line must be {names}")
    mistakes = _header_mistakes(header, columns)
    if mistakes:
        raise UserError(f"{path}, line {line}: {'; '.join(mistakes)}. The header must be {names}")
    by_name = {column.name: column for column in columns}
    ordered = [by_name[name] for name in header]
    parsed: list[dict[str, str | int]] = []
    problems: list[Problem] = []
    for number, cells in rows:
        values, wrong = _parse(cells, ordered)
        problems += [(number, text) for text in wrong]
        parsed.append({**values, "line": number})
    refuse(path, problems)
    types = dict.fromkeys(by_name, "str") | {"line": "int64"}
    return pd.DataFrame(parsed, columns=[*by_name, "line"]).astype(types)


def cells(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return a file's header and its rows as they are, without empty rows and outer spaces; no cell is looked at.

    Raises:
        UserError: the file is missing, or not comma-separated UTF-8.

    """
    rows = [row for _, row in _rows(path)]
    return (rows[0], rows[1:]) if rows else ([], [])


def refuse(path: Path, problems: Sequence[Problem]) -> None:
    """Raise UserError if there are wrong lines: it names the first MAX_LISTED of them, and counts the others."""
    if not problems:
        return
    lines = [f"  line {line}: {text}" for line, text in problems[:MAX_LISTED]]
    if len(problems) > MAX_LISTED:
        lines.append(f"  ... and {len(problems) - MAX_LISTED} more")
    raise UserError(f"{path} is wrong:\n" + "\n".join(lines) + "\nCorrect it, then `dvc add data` and run this again.")


def quote(text: str) -> str:
    """Return text for a message: in quotes, control characters escaped, at most 80 characters."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _text(path: Path) -> str:
    data = read_bytes(path, remedy=_RESTORE)
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            raise UserError(f"{path} is {name}, not UTF-8. {_SAVE}")
    if (offset := data.find(b"\0")) >= 0:
        where = f"{path}, line {_line(data, offset)}"
        raise UserError(f"{where} holds a NUL byte: the file is damaged, or UTF-16. {_SAVE}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"{path}, line {_line(data, error.start)}"
        raise UserError(f"{where} is not UTF-8, but likely Windows-1252 or Latin-1. {_SAVE}") from None


def _line(data: bytes, offset: int) -> int:
    return len(data[: offset + 1].splitlines())


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not empty: the number of its first line, and its cells without outer spaces."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{path}, line {line}: {_explain(error)}. Correct it and run this again.") from None
        if any(cells):
            yield line, cells


def _explain(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end" in text:
        return 'a quote (") is opened here and never closed'
    if "expected after" in text:
        return 'text follows a closing quote ("); within a quoted cell a quote is written twice, ""'
    return text


def _header_mistakes(header: Sequence[str], columns: Sequence[Column]) -> list[str]:
    if len(header) == 1:
        for separator, name in _SEPARATORS.items():
            if separator in header[0]:
                return [f"the columns are separated by {name}, not by commas. {_SAVE}".rstrip(".")]
    known = [column.name for column in columns]
    columns_by_mistake = {
        "unknown column(s)": [quote(name) for name in header if name and name not in known],
        "lacks the column(s)": [name for name in known if name not in header],
        "names twice": sorted({name for name in header if name and header.count(name) > 1}),
    }
    mistakes = [f"{what} {', '.join(names)}" for what, names in columns_by_mistake.items() if names]
    return mistakes + ["has a column without a name (a comma too many?)"] * ("" in header)


def _parse(cells: Sequence[str], columns: Sequence[Column]) -> tuple[dict[str, str], list[str]]:
    """Return a row's values by column, and what is wrong with it."""
    if len(cells) != len(columns):
        many = len(cells) > len(columns)
        hint = "a comma too many? A cell that holds a comma is quoted" if many else "it is cut short, or lacks commas"
        return {}, [f"has {len(cells)} cells where the header has {len(columns)}: {hint}"]
    values: dict[str, str] = {}
    wrong: list[str] = []
    for column, cell in zip(columns, cells, strict=True):
        try:
            values[column.name] = _cell(cell, column)
        except ValueError as error:
            wrong.append(f"{column.name} {error}")
    return values, wrong


def _cell(cell: str, column: Column) -> str:
    if "\n" in cell or "\r" in cell:
        raise ValueError(f"{quote(cell)} goes over several lines: write it in one, or close its quote")
    if not cell:
        if column.required:
            raise ValueError("is empty")
        return ""
    return column.parse(cell)
