"""Lists and reads the files below an untrusted folder, without ever leaving it.

    walked = walk(b"scrape")
    for entry in walked.entries:
        entry.shown, entry.problem or read(os.path.realpath(b"scrape"), entry.below, max_bytes=64 * 2**20)

No part of a path below the root may be a link when it is opened, even if a folder is replaced by a link meanwhile. A
path that is longer than the system allows is opened name by name.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

# Files of programs, which are skipped, as are folders that begin with a dot. Any other hidden file may be a picture.
_FOLDERS = {b"__MACOSX", b"@eaDir", b"$RECYCLE.BIN", b"System Volume Information", b"lost+found"}
_FILES = {b".ds_store", b"thumbs.db", b"ehthumbs.db", b"desktop.ini"}
_HOLD = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH_MAX = 4_000  # bytes; the system's own is 4,096
_LINK = "not_a_file: a symbolic link"


class Entry(NamedTuple):
    """A file: its path from the root, the path to open it by (for a link, that of its target), and any problem.

    A folder is an entry only if it could not be listed.
    """

    shown: bytes
    below: bytes
    problem: str = ""
    is_folder: bool = False


@dataclass(frozen=True)
class Walk:
    """The files below a root, by path, and the number of skipped files by the hidden name they are under."""

    entries: list[Entry]
    skipped: dict[str, int]


@dataclass
class _State:
    root: bytes
    follow: bool
    entries: list[Entry] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    folders: set[tuple[bytes, int, int]] = field(default_factory=set)  # already listed: label, device, inode


class Content(NamedTuple):
    """A file's bytes (None if there is a problem), its modification time (s) and its size."""

    data: bytes | None
    modified: int
    size: int
    problem: str = ""


def walk(root: bytes, *, follow_links: bool = False) -> Walk:
    """List the files below `root`, except those in hidden folders.

    A folder that cannot be listed has an entry with the problem. Links are not followed; with `follow_links` they are
    if the target is below `root`, but each folder is listed only once for each label (the name of the first folder).
    """
    state = _State(os.path.realpath(root), follow_links)
    waiting = [(b"", b"")]
    while waiting:
        shown, below = waiting.pop()
        for name, mode in _list(state, shown, below):
            _add_entry(state, waiting, _join(shown, name), _join(below, name), mode)
    return Walk(sorted(state.entries), dict(sorted(state.skipped.items())))


def read(root: bytes, below: bytes, max_bytes: int) -> Content:
    """Return the bytes of the regular file `below` a root (a real path), if it has at most `max_bytes`.

    Other files are not opened; `max_bytes` -1 opens none and returns time, size and problem only.
    """
    try:
        with _open_path(root, below) as handle:
            about = _describe(os.fstat(handle))
            if about.problem or about.size > max_bytes:
                too_large = f"too_large: {about.size:,} bytes, more than {max_bytes:,}"
                return about._replace(problem=about.problem or too_large)
            with os.fdopen(_open_again(handle, os.O_RDONLY), "rb") as file:
                data = file.read(max_bytes + 1)
    except OSError as error:
        return Content(None, 0, 0, f"unreadable: {error.strerror}")
    if len(data) > max_bytes:  # it grew meanwhile
        return about._replace(size=len(data), problem=f"too_large: more than {max_bytes:,} bytes")
    return about._replace(data=data, size=len(data))


def _describe(about: os.stat_result) -> Content:
    """Return a file's time and size, and the problem if it is not a regular file."""
    if stat.S_ISREG(about.st_mode):
        return Content(None, int(about.st_mtime), about.st_size)
    return Content(None, int(about.st_mtime), 0, _no_file_problem(link=stat.S_ISLNK(about.st_mode)))


def is_hidden(name: bytes, *, folder: bool) -> bool:
    """Whether the name is that of a program's folder or file: `.git`, `__MACOSX`, `Thumbs.db`, `._a.jpg`."""
    if folder:
        return name.startswith(b".") or name in _FOLDERS
    return name.lower() in _FILES or name.startswith(b"._")


@contextmanager
def _open_path(root: bytes, below: bytes) -> Iterator[int]:
    """Yield an O_PATH descriptor of the path `below` a root, which opens neither the file nor the target of a link."""
    handle = _open_at_once(root, below)
    if handle is None:
        handle = _step_by_step(root, below)
    try:
        yield handle
    finally:
        os.close(handle)


def _open_again(handle: int, flags: int) -> int:
    """Open the file of an O_PATH descriptor, even if another file has its name now."""
    return os.open(f"/proc/self/fd/{handle}", flags | os.O_CLOEXEC)


def _open_at_once(root: bytes, below: bytes) -> int | None:
    """Return an O_PATH descriptor of a path; None if it leads through a link, as its real path then shows."""
    path = root.rstrip(b"/") + b"/" + below if below else root
    if len(path) >= _PATH_MAX:
        return None
    handle = os.open(path, _HOLD)
    try:
        if os.readlink(b"/proc/self/fd/%d" % handle) == path:  # noqa: PTH115 -- bytes
            return handle
    except OSError:
        pass
    os.close(handle)
    return None


def _step_by_step(root: bytes, below: bytes) -> int:
    handle = os.open(root, _HOLD | os.O_DIRECTORY)
    for name in filter(None, below.split(b"/")):
        try:
            deeper = os.open(name, _HOLD, dir_fd=handle)  # fails with "not a directory" below a link
        finally:
            os.close(handle)
        handle = deeper
    return handle


def _list(state: _State, shown: bytes, below: bytes) -> list[tuple[bytes, int]]:
    """Return a folder's names and modes."""
    try:
        with _open_path(state.root, below) as held:
            handle = _open_again(held, os.O_RDONLY | os.O_DIRECTORY)
        try:
            about = os.fstat(handle)
            state.folders.add((shown.partition(b"/")[0], about.st_dev, about.st_ino))
            with os.scandir(handle) as listed:
                return sorted(((os.fsencode(entry.name), _mode(entry)) for entry in listed), reverse=True)
        finally:
            os.close(handle)
    except OSError as error:
        problem = f"unreadable: {error.strerror}; nothing in this folder was read"
        state.entries.append(Entry(shown, below, problem, is_folder=True))
        return []


def _mode(entry: "os.DirEntry[str]") -> int:
    """Return the kind of a file, as in st_mode; most file systems need no further system call for it."""
    try:
        if entry.is_symlink():
            return stat.S_IFLNK
        if entry.is_dir(follow_symlinks=False):
            return stat.S_IFDIR
        return stat.S_IFREG if entry.is_file(follow_symlinks=False) else stat.S_IFIFO
    except OSError:  # no permission: reading it will report that
        return stat.S_IFREG


def _add_entry(state: _State, waiting: list[tuple[bytes, bytes]], shown: bytes, below: bytes, mode: int) -> None:
    name = shown.rpartition(b"/")[2]
    if stat.S_ISLNK(mode) and state.follow:
        below, mode, problem = _target(state, shown, below)
    else:
        problem = "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else _no_file_problem(link=stat.S_ISLNK(mode))
    if is_hidden(name, folder=stat.S_ISDIR(mode)):
        state.skipped[name.decode("utf-8", "backslashreplace")] += _count(state, below) if stat.S_ISDIR(mode) else 1
    elif stat.S_ISDIR(mode) and not problem:
        waiting.append((shown, below))
    else:
        state.entries.append(Entry(shown, below, problem))


def _target(state: _State, shown: bytes, below: bytes) -> tuple[bytes, int, str]:
    """Return a link's target as a path below the root, its mode, and the problem if it must not be followed."""
    try:
        path = os.path.realpath(state.root + b"/" + below, strict=True)
        about = os.stat(path)  # noqa: PTH116 -- bytes: a name need not be UTF-8
    except OSError as error:
        return below, stat.S_IFLNK, f"{_LINK} that leads nowhere ({error.strerror})"
    if not path.startswith(state.root.rstrip(b"/") + b"/"):
        return below, stat.S_IFLNK, f"{_LINK} that leads out of the folder"
    if stat.S_ISDIR(about.st_mode) and (shown.partition(b"/")[0], about.st_dev, about.st_ino) in state.folders:
        return below, stat.S_IFLNK, f"{_LINK} to a folder that is read already"
    plain = stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)
    return os.path.relpath(path, state.root), about.st_mode, "" if plain else _no_file_problem()


def _count(state: _State, below: bytes) -> int:
    """Return the number of files below a folder."""
    total, waiting = 0, [below]
    while waiting:
        folder = waiting.pop()
        inner = _State(state.root, follow=False)
        for name, mode in _list(inner, folder, folder):
            if stat.S_ISDIR(mode):
                waiting.append(_join(folder, name))
            else:
                total += 1
    return total


def _join(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


def _no_file_problem(*, link: bool = False) -> str:
    return f"{_LINK}, not followed" if link else "not_a_file: a device, a pipe or a socket"
