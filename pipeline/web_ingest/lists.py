"""Reads lists of URLs: a text file, or a folder as nsfw_data_scraper leaves it, `raw_data/<label>/urls_<label>.txt`.

A line is a URL and, optionally, what its content is expected to be: `sha256=<64 hex digits>` or `etag=<text>`. Empty
lines and those that begin with `#` are skipped.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import UserError

LIST = re.compile(r"urls_.*\.txt")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BOM = "\ufeff"


class Item(NamedTuple):
    """One URL under one label; `sha256` and `etag` are what its content is expected to have, or None."""

    url: str
    label: str
    sha256: str | None = None
    etag: str | None = None


def read(path: Path, label: str | None, labels: Sequence[str]) -> list[Item]:
    """Return the items of a list or of a folder of lists: by path and line, a URL once under each label.

    `label` is that of a list; a folder's lists have the name of the folder that they lie in. `labels`: those known.

    Raises:
        UserError: a label is missing, unknown or given beside a folder; a line is wrong; nothing is listed.

    """
    if not path.exists():
        raise UserError(f"{path} does not exist. Give a text file with a URL on each line, or a folder of such lists.")
    if path.is_dir():
        if label is not None:
            raise UserError(f"{path} is a folder: its lists have the labels of their own folders. Leave out --label.")
        lists = _labelled_lists(path, labels)
    elif label is None:
        raise UserError(f"{path} is a single list: name the label of its pictures with --label.")
    else:
        _check_label(label, "--label", labels)
        lists = [(path, label)]
    items: dict[tuple[str, str], Item] = {}
    for file, its_label in lists:
        for item in _read_list(file, its_label):
            _merge(items, item, file)
    if not items:
        raise UserError(f"{path} lists no URL; nothing was fetched.")
    return list(items.values())


def _merge(items: dict[tuple[str, str], Item], item: Item, file: Path) -> None:
    known = items.setdefault((item.label, item.url), item)
    if known != item:
        raise UserError(
            f"{file}: {item.url} is listed twice under {item.label!r}, and is expected to differ. Correct one."
        )


def _labelled_lists(root: Path, labels: Sequence[str]) -> list[tuple[Path, str]]:
    lists = sorted(Path(folder) / name for folder, _, names in os.walk(root) for name in names if LIST.fullmatch(name))
    if not lists:
        raise UserError(f"{root} holds no lists: expected {root}/<label>/urls_<label>.txt, at any depth.")
    for path in lists:
        _check_label(path.parent.name, str(path), labels)
    return [(path, path.parent.name) for path in lists]


def _check_label(label: str, where: str, labels: Sequence[str]) -> None:
    if label not in labels:
        known = ", ".join(map(repr, labels))
        raise UserError(f"{where}: params.yaml does not know the label {label!r}; labels.names has {known}.")


def _read_list(path: Path, label: str) -> Iterator[Item]:
    # Any bytes are text here: what is no URL gets its row, with that reason.
    for number, line in enumerate(path.read_bytes().decode("utf-8", "backslashreplace").split("\n"), start=1):
        words = (line.removeprefix(_BOM) if number == 1 else line).split()
        if words and not words[0].startswith("#"):
            yield _item(words, label, f"{path}, line {number}")


def _item(words: Sequence[str], label: str, where: str) -> Item:
    url, *columns = words
    name, equals, value = columns[0].partition("=") if columns else ("", "", "")
    if not equals or name not in {"sha256", "etag"}:
        return Item(" ".join(words), label)  # with a space in it, it is no URL: its row says so
    if len(columns) == 1 and value and name == "etag":
        return Item(url, label, etag=value)
    if len(columns) == 1 and name == "sha256" and _SHA256.fullmatch(value.lower()):
        return Item(url, label, sha256=value.lower())
    raise UserError(f"{where}: {' '.join(columns)!r} is neither sha256=<64 hex digits> nor etag=<text without spaces>.")
