"""What lies below a folder that nobody vouches for, however deep, and its files' bytes, read from nowhere else.

    walked = walk(b"scrape")
    for entry in walked.entries:
        entry.shown, entry.problem or read(os.path.realpath(b"scrape"), entry.below, max_bytes=64 * 2**20)

No name below the root may be a link when it is opened, and a path longer than the system takes is opened name by name:
neither that, nor a folder that somebody swaps for a link meanwhile, leads anywhere else.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

# Litter that programs leave, beside folders whose names begin with a dot; any other hidden file may be a picture.
_FOLDERS = {b"__MACOSX", b"@eaDir", b"$RECYCLE.BIN", b"System Volume Information", b"lost+found"}
_FILES = {b".ds_store", b"thumbs.db", b"ehthumbs.db", b"desktop.ini"}
_HOLD = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH_MAX = 4_000  # bytes; the system's own is 4,096
_LINK = "not_a_file: a symbolic link"


class Entry(NamedTuple):
    """A file: its path as seen from the root, the path that it is opened by (of a link: its target's), or a problem.

    A folder is an entry only where it could not be listed.
    """

    shown: bytes
    below: bytes
    problem: str = ""
    is_folder: bool = False


@dataclass(frozen=True)
class Walk:
    """The files below a root, by path, and how many were passed over, by the hidden name that they lie under."""

    entries: list[Entry]
    skipped: dict[str, int]


@dataclass
class _State:
    root: bytes
    follow: bool
    entries: list[Entry] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    folders: set[tuple[bytes, int, int]] = field(default_factory=set)  # that were listed: label, device, inode


class Content(NamedTuple):
    """A file's bytes, its own time (s), its size; or why there are no bytes."""

    data: bytes | None
    modified: int
    size: int
    problem: str = ""


def walk(root: bytes, *, follow_links: bool = False) -> Walk:
    """List what lies below `root`: no folder, and nothing below a hidden one.

    A folder that cannot be listed has an entry with the problem. A link is not followed, or, with `follow_links`, only
    where its target lies below `root`, and a folder only once for each label (the first folder's name).
    """
    state = _State(os.path.realpath(root), follow_links)
    waiting = [(b"", b"")]
    while waiting:
        shown, below = waiting.pop()
        for name, mode in _list(state, shown, below):
            _place(state, waiting, _join(shown, name), _join(below, name), mode)
    return Walk(sorted(state.entries), dict(sorted(state.skipped.items())))


def read(root: bytes, below: bytes, max_bytes: int) -> Content:
    """Return the bytes of the regular file `below` a root (a real path), of at most `max_bytes`.

    Nothing but a regular file of at most that size is ever opened: `max_bytes` -1 opens none, and tells of it.
    """
    try:
        with _held(root, below) as handle:
            about = _describe(os.fstat(handle))
            if about.problem or about.size > max_bytes:
                too_large = f"too_large: {about.size:,} bytes, more than {max_bytes:,}"
                return about._replace(problem=about.problem or too_large)
            with os.fdopen(_reopen(handle, os.O_RDONLY), "rb") as file:
                data = file.read(max_bytes + 1)
    except OSError as error:
        return Content(None, 0, 0, f"unreadable: {error.strerror}")
    if len(data) > max_bytes:  # it grew meanwhile
        return about._replace(size=len(data), problem=f"too_large: more than {max_bytes:,} bytes")
    return about._replace(data=data, size=len(data))


def _describe(about: os.stat_result) -> Content:
    """Return a file's time and size, and the problem where it is no regular one."""
    if stat.S_ISREG(about.st_mode):
        return Content(None, int(about.st_mtime), about.st_size)
    return Content(None, int(about.st_mtime), 0, _other(link=stat.S_ISLNK(about.st_mode)))


def is_hidden(name: bytes, *, folder: bool) -> bool:
    """Whether a folder or a file is a program's own, by its name: `.git`, `__MACOSX`, `Thumbs.db`, `._a.jpg`."""
    if folder:
        return name.startswith(b".") or name in _FOLDERS
    return name.lower() in _FILES or name.startswith(b"._")


@contextmanager
def _held(root: bytes, below: bytes) -> Iterator[int]:
    """Hold what lies `below` a root without opening it, and yield the descriptor; a link is held as such."""
    handle = _directly(root, below)
    if handle is None:
        handle = _step_by_step(root, below)
    try:
        yield handle
    finally:
        os.close(handle)


def _reopen(handle: int, flags: int) -> int:
    """Open what is held, whatever bears its name by now."""
    return os.open(f"/proc/self/fd/{handle}", flags | os.O_CLOEXEC)


def _directly(root: bytes, below: bytes) -> int | None:
    """Hold a path at once, if that led through no link: the system tells where what is held really lies."""
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
            deeper = os.open(name, _HOLD, dir_fd=handle)  # below a link there is nothing: not a directory
        finally:
            os.close(handle)
        handle = deeper
    return handle


def _list(state: _State, shown: bytes, below: bytes) -> list[tuple[bytes, int]]:
    """Return a folder's names and modes."""
    try:
        with _held(state.root, below) as held:
            handle = _reopen(held, os.O_RDONLY | os.O_DIRECTORY)
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
    """Return what kind of file it is, as in st_mode; most file systems tell without another look."""
    try:
        if entry.is_symlink():
            return stat.S_IFLNK
        if entry.is_dir(follow_symlinks=False):
            return stat.S_IFDIR
        return stat.S_IFREG if entry.is_file(follow_symlinks=False) else stat.S_IFIFO
    except OSError:  # nobody may look: reading it will tell
        return stat.S_IFREG


def _place(state: _State, waiting: list[tuple[bytes, bytes]], shown: bytes, below: bytes, mode: int) -> None:
    name = shown.rpartition(b"/")[2]
    if stat.S_ISLNK(mode) and state.follow:
        below, mode, problem = _target(state, shown, below)
    else:
        problem = "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else _other(link=stat.S_ISLNK(mode))
    if is_hidden(name, folder=stat.S_ISDIR(mode)):
        state.skipped[name.decode("utf-8", "backslashreplace")] += _count(state, below) if stat.S_ISDIR(mode) else 1
    elif stat.S_ISDIR(mode) and not problem:
        waiting.append((shown, below))
    else:
        state.entries.append(Entry(shown, below, problem))


def _target(state: _State, shown: bytes, below: bytes) -> tuple[bytes, int, str]:
    """Return where a link leads, as a path below the root, and what is there; or what forbids to follow it."""
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
    return os.path.relpath(path, state.root), about.st_mode, "" if plain else _other()


def _count(state: _State, below: bytes) -> int:
    """Return how many files a folder holds, however deep."""
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


def _other(*, link: bool = False) -> str:
    return f"{_LINK}, not followed" if link else "not_a_file: a device, a pipe or a socket"
