"""The inputs to score, in a stable order: folders, files, tars and lists of them.

    for item in inputs.walk([b"scrape", b"more.tar.gz"], max_bytes=64 * 2**20):
        item.name, item.content, item.problem

A folder's entries are sorted by name. Symbolic links in a folder are not followed, so there are no loops, and only
regular files are opened. Every other entry gets an item with a problem, so nothing is skipped silently.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import UserError
from pipeline.images import tars
from pipeline.images.byte_source import ByteSource
from pipeline.images.tars import MEMBER, printable


@dataclass(frozen=True)
class Item:
    r"""One input.

    Attributes:
        name: its path, or archive::member; bytes that are not UTF-8 are written as \xff.
        content: where to read its bytes.
        problem: why it cannot be read, `code: detail`; "" if it can.
        stamp: sizes, times and offsets; equal names and stamps are taken to mean equal bytes.

    """

    name: str
    content: ByteSource
    problem: str = ""
    stamp: str = ""


class _Entry(NamedTuple):
    """An entry of the file system.

    Attributes:
        path: as given, or below a given folder.
        status: of a regular file; None if there is a problem.
        problem: why it is not read, `code: detail`.
        target: the absolute path to open, with links in `path` resolved; a sandbox worker may have another working
            directory.

    """

    path: bytes
    status: os.stat_result | None
    problem: str = ""
    target: bytes = b""


def walk(paths: Sequence[bytes], max_bytes: int) -> Iterator[Item]:
    """Yield the items of each path: a folder's, recursively, a tar's members, or a file itself.

    A given path that is a symbolic link is followed, as it was named explicitly. `max_bytes` is the maximum size of an
    archive's member.
    """
    for entry in _entries(paths):
        name = printable(entry.path)
        if entry.status is None:
            yield Item(name, ByteSource(), entry.problem)
            continue
        stamp = f"{entry.status.st_size} {entry.status.st_mtime_ns}"
        if not tars.is_tar(entry.path):
            yield Item(name, ByteSource(entry.target, weight=entry.status.st_size), stamp=stamp)
            continue
        for member in tars.members(entry.target, max_bytes):
            title = f"{name}{MEMBER}{printable(member.name)}" if member.name else name
            yield Item(title, member.content, member.problem, f"{stamp} {member.offset} {member.size}")


def count(paths: Sequence[bytes]) -> int | None:
    """Return how many items `walk` will yield; None if there is an archive, as its members are not known in advance."""
    total = 0
    for entry in _entries(paths):
        if entry.status is not None and tars.is_tar(entry.path):
            return None
        total += 1
    return total


def read_list(file: Path) -> list[bytes]:
    """Return the paths in a list: one on each line, or separated by NUL (`find -print0`) if the file contains one.

    Raises:
        UserError: it cannot be read.

    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): --list takes a file with a path a line.") from None
    lines = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [line for line in lines if line]


def _entries(paths: Sequence[bytes]) -> Iterator[_Entry]:
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 -- bytes: a name need not be UTF-8
        except (OSError, ValueError) as error:  # ValueError: a NUL in it
            yield _Entry(path, None, f"unreadable: {_reason(error)}")
            continue
        if stat.S_ISDIR(status.st_mode):
            yield from _folder(path)
        else:
            yield _regular_file(path, status, os.path.realpath(path))


def _folder(root: bytes) -> Iterator[_Entry]:
    """Yield everything below a folder, depth first, by name; without recursion, as folders may be very deep."""
    waiting = [_listing(root)]  # a stack: one iterator for each folder on the current path
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
        elif isinstance(entry, _Entry):
            yield entry
        elif entry.is_dir(follow_symlinks=False):
            waiting.append(_listing(entry.path))
        elif entry.is_symlink():
            yield _Entry(entry.path, None, "not_a_file: a symbolic link, which is not followed")
        else:
            yield _checked_entry(entry)


def _listing(folder: bytes) -> Iterator["os.DirEntry[bytes] | _Entry"]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield _Entry(folder, None, f"unreadable: {_reason(error)}")


def _checked_entry(entry: "os.DirEntry[bytes]") -> _Entry:
    try:
        return _regular_file(entry.path, entry.stat(follow_symlinks=False))
    except OSError as error:  # it has vanished since
        return _Entry(entry.path, None, f"unreadable: {_reason(error)}")


def _regular_file(path: bytes, status: os.stat_result, target: bytes = b"") -> _Entry:
    if stat.S_ISREG(status.st_mode):
        return _Entry(path, status, target=target or os.path.abspath(path))  # noqa: PTH100 -- bytes
    return _Entry(path, None, "not_a_file: a pipe, a socket or a device")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
