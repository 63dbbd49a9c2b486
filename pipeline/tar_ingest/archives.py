"""The archives to ingest: those given, and those below the folders given, each once."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import UserError
from pipeline.data import walk
from pipeline.images import tars


class Archive(NamedTuple):
    """An archive: its absolute path, its name as in origins, the folder that it lies in, its time (s) and size.

    `problem`: why it is not read, `code: detail`; a folder that could not be listed is one, too.
    """

    path: bytes
    name: str
    folder: str = ""
    modified: int = 0
    size: int = 0
    problem: str = ""

    @property
    def table(self) -> bytes:
        """The path of the table that img2dataset writes beside it: `00000.parquet` for `00000.tar`."""
        suffix = max((end for end in tars.SUFFIXES if self.path.lower().endswith(end)), key=len, default=b"")
        return self.path[: len(self.path) - len(suffix)] + b".parquet"


def find(given: Sequence[Path]) -> list[Archive]:
    """Return the archives, in the given order, and by path below a folder; links below a folder are not followed.

    Raises:
        UserError: there is none, or a given path does not exist or is no archive.

    """
    archives = [archive for path in given for archive in _below(path)]
    if not any(not archive.problem for archive in archives):
        reasons = "".join(f"\n  {archive.name}: {archive.problem}" for archive in archives[:8])
        shown = ", ".join(map(str, given))
        raise UserError(f"{shown}: no archives that can be read; they end in {_endings()}.{reasons}")
    unique: dict[bytes, Archive] = {}
    for archive in archives:
        unique.setdefault(archive.path, archive)
    return list(unique.values())


def _below(path: Path) -> list[Archive]:
    if not path.exists():
        raise UserError(f"{path} does not exist. Give archives ({_endings()}), or folders that hold some.")
    if path.is_dir():
        root = os.path.realpath(os.fsencode(path))
        entries = walk.walk(root).entries
        return [_of_entry(path, root, entry) for entry in entries if entry.is_folder or tars.is_tar(entry.below)]
    if not tars.is_tar(os.fsencode(path.name)) or not path.is_file():
        raise UserError(
            f"{path} is no archive: its name must end in {_endings()}. Pictures as files: `nsfw ingest folder`."
        )
    return [_archive(os.path.realpath(os.fsencode(path)), tars.printable(os.fsencode(path)))]


def _of_entry(given: Path, root: bytes, entry: walk.Entry) -> Archive:
    path = os.path.join(root, entry.below)  # noqa: PTH118 -- bytes: a name need not be UTF-8
    name = tars.printable(os.path.join(os.fsencode(given), entry.shown))  # noqa: PTH118 -- bytes
    return Archive(path, name, problem=entry.problem) if entry.problem else _archive(path, name)


def _archive(path: bytes, name: str) -> Archive:
    folder = tars.printable(os.path.basename(os.path.dirname(path)))  # noqa: PTH119, PTH120 -- bytes
    try:
        about = os.stat(path, follow_symlinks=False)  # noqa: PTH116 -- bytes
    except OSError as error:
        return Archive(path, name, folder, problem=f"unreadable: {error.strerror}")
    problem = "" if stat.S_ISREG(about.st_mode) else "not_a_file: no regular file"
    return Archive(path, name, folder, int(about.st_mtime), about.st_size, problem)


def _endings() -> str:
    return ", ".join(suffix.decode() for suffix in tars.SUFFIXES)
