"""What is to be scored, in a stable order: folders, files, tars and lists of them; nothing is passed over in silence.

    for item in inputs.walk([b"scrape", b"more.tar.gz"], max_bytes=64 * 2**20):
        item.name, item.content, item.problem

A folder's entries come by name. Symbolic links in a folder are not followed, so there are no loops; what is no regular
file is never opened. Each has its item all the same, with the problem.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.batch_scoring import tars
from pipeline.core.errors import UserError
from pipeline.images.byte_source import Content

MEMBER = "::"  # between an archive's name and its member's


@dataclass(frozen=True)
class Item:
    r"""One input.

    Attributes:
        name: its path, or archive::member; bytes that are no UTF-8 as \xff.
        content: where its bytes lie.
        problem: why there are none, `code: detail`; "" where there are.
        stamp: of equal names and stamps the bytes are taken to be equal: sizes, times, places.

    """

    name: str
    content: Content
    problem: str = ""
    stamp: str = ""


class _Entry(NamedTuple):
    """Something in a file system: what it is (size and time of a regular file), or the problem.

    `target` is the file's absolute path (a sandbox worker may have begun in another directory); where `path` is a link,
    the file that it leads to.
    """

    path: bytes
    about: os.stat_result | None
    problem: str = ""
    target: bytes = b""


def walk(paths: Sequence[bytes], max_bytes: int) -> Iterator[Item]:
    """Yield the items of each path: a folder's, recursively, a tar's members, or a file itself.

    A path that is a symbolic link is followed: somebody has asked for it by name. `max_bytes` is the most that a member
    of an archive may have.
    """
    for entry in _entries(paths):
        name = readable(entry.path)
        if entry.about is None:
            yield Item(name, Content(), entry.problem)
            continue
        stamp = f"{entry.about.st_size} {entry.about.st_mtime_ns}"
        if not tars.is_tar(entry.path):
            yield Item(name, Content(entry.target, weight=entry.about.st_size), stamp=stamp)
            continue
        for member in tars.members(entry.target, max_bytes):
            title = f"{name}{MEMBER}{readable(member.name)}" if member.name else name
            yield Item(title, member.content, member.problem, f"{stamp} {member.place} {member.size}")


def count(paths: Sequence[bytes]) -> int | None:
    """Return how many items `walk` will yield; None where an archive is among them: nobody knows before its end."""
    total = 0
    for entry in _entries(paths):
        if entry.about is not None and tars.is_tar(entry.path):
            return None
        total += 1
    return total


def listed(file: Path) -> list[bytes]:
    """Return the paths in a list: a line each, or ended by NUL each (`find -print0`) where it holds one.

    Raises:
        UserError: it cannot be read.

    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): --list takes a file with a path a line.") from None
    lines = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [line for line in lines if line]


def readable(name: bytes | str) -> str:
    r"""Return a file's name as text that any format can hold: a byte that is no UTF-8 becomes \\xff, say."""
    data = os.fsencode(name) if isinstance(name, str) else name
    return data.decode("utf-8", "backslashreplace")


def _entries(paths: Sequence[bytes]) -> Iterator[_Entry]:
    for path in paths:
        try:
            about = os.stat(path)  # noqa: PTH116 -- bytes: a name need not be UTF-8
        except (OSError, ValueError) as error:  # ValueError: a NUL in it
            yield _Entry(path, None, f"unreadable: {_said(error)}")
            continue
        if stat.S_ISDIR(about.st_mode):
            yield from _folder(path)
        else:
            yield _judged(path, about, os.path.realpath(path))


def _folder(root: bytes) -> Iterator[_Entry]:
    """Yield what lies below, depth first, by name; without recursion, however deep."""
    waiting = [_listing(root)]
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
            yield _found(entry)


def _listing(folder: bytes) -> Iterator["os.DirEntry[bytes] | _Entry"]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield _Entry(folder, None, f"unreadable: {_said(error)}")


def _found(entry: "os.DirEntry[bytes]") -> _Entry:
    try:
        return _judged(entry.path, entry.stat(follow_symlinks=False))
    except OSError as error:  # it has vanished since
        return _Entry(entry.path, None, f"unreadable: {_said(error)}")


def _judged(path: bytes, about: os.stat_result, target: bytes = b"") -> _Entry:
    if stat.S_ISREG(about.st_mode):
        return _Entry(path, about, target=target or os.path.abspath(path))  # noqa: PTH100 -- bytes
    return _Entry(path, None, "not_a_file: a pipe, a socket or a device")


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
