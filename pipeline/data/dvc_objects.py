"""Objects of DVC's cache that no revision uses, by DVC's Python API: `dvc gc` itself takes one --rev alone.

with locked() as cache:
    unused = cache.unused(commits, folders)
    cache.delete()
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pipeline.core.errors import UserError
from pipeline.data import dvc_pointer

_TEMPORARY = Path(".dvc/tmp")


@dataclass(frozen=True)
class CacheObject:
    """A file of the cache: its path, md5 and bytes, and its path within the versioned folder where that is known."""

    path: Path
    md5: str
    size: int
    name: str = ""


class Cache:
    """DVC's local cache, whose lock this process holds."""

    def __init__(self, repo: Any) -> None:
        self._repo = repo
        self._used: set[Any] = set()
        self.used_count = 0  # objects here that the last call of `unused` left out

    @property
    def folder(self) -> Path:
        """The folder of objects by md5."""
        return Path(self._repo.cache.local.path)

    @property
    def is_shared(self) -> bool:
        """Whether it lies outside the project, where other projects may use it."""
        return not self.folder.resolve().is_relative_to(Path(self._repo.root_dir).resolve())

    def has(self, md5: str) -> bool:
        """Whether it holds an object."""
        return dvc_pointer.object_path(self.folder, md5).is_file()

    def unused(self, commits: Sequence[str], folders: Iterable[str]) -> list[CacheObject]:
        """Return what neither the workspace nor one of the commits nor a folder's version (md5) uses, sorted by path.

        A list of a folder's files that the cache lacks is fetched from the remote, if that has it.

        Raises:
            UserError: a commit, or the workspace, has files of DVC that cannot be read.

        """
        from dvc.exceptions import DvcException
        from dvc_data.hashfile.hash_info import HashInfo

        try:
            # Forced, DVC asks no question about a folder without a list. Whose list is needed, the caller checks.
            by_remote = self._repo.used_objs(revs=list(commits), force=True)
        except DvcException as error:
            reason = "; ".join(dict.fromkeys(str(each) for each in (error, error.__cause__) if each))
            raise UserError(
                f"what is used cannot be known: {reason}. Correct that (`git status`; a branch or tag that nobody "
                "needs can be deleted), and run this again."
            ) from None
        self._used = set().union(*by_remote.values())
        for md5 in folders:
            files = dvc_pointer.listing(self.folder, md5) or {}
            self._used |= {HashInfo("md5", each) for each in (md5, *files.values())}
        stored = [(odb, md5) for odb in self._stores() for md5 in odb.all()]
        unused = [(odb, md5) for odb, md5 in stored if HashInfo(odb.hash_name, md5) not in self._used]
        self.used_count = len(stored) - len(unused)
        names = self._names(md5 for _, md5 in unused)
        paths = ((Path(odb.oid_to_path(md5)), md5) for odb, md5 in unused)
        return sorted(
            (CacheObject(path, md5, path.stat().st_size, names.get(md5, "")) for path, md5 in paths),
            key=lambda one: one.path,
        )

    def delete(self) -> None:
        """Delete what the last call of `unused` returned: lists of folders first, so that no list lacks its files."""
        from dvc_data.hashfile.gc import gc

        for odb in self._stores():
            gc(odb, self._used)

    def _stores(self) -> list[Any]:
        """Return the store of objects, and that of DVC 2's."""
        return list({odb.path: odb for _, odb in self._repo.cache.by_scheme() if odb}.values())

    def _names(self, unused: Iterable[str]) -> dict[str, str]:
        """Return the relative path of each file that an unused list of a folder names, by md5."""
        lists = (dvc_pointer.listing(self.folder, md5) or {} for md5 in unused if md5.endswith(".dir"))
        return {md5: name for files in lists for name, md5 in files.items()}


@contextmanager
def locked() -> Iterator[Cache]:
    """Yield the project's cache, with DVC's lock held, so that no `dvc` command can start.

    Raises:
        UserError: another `dvc` command is at work, or DVC's settings cannot be read.

    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)  # it warns of each output that no stage has made yet
    try:
        repo = Repo()
    except DvcException as error:
        raise UserError(
            f"DVC cannot open this project: {error}. Run this in its own checkout; `dvc doctor` tells more."
        ) from None
    with repo:
        try:
            repo.lock.lock()
        except LockError:
            raise UserError("another `dvc` command holds DVC's lock. Wait for it to end, and run this again.") from None
        try:
            # While a stage runs, `dvc repro` has given the lock back, and only notes what it reads and writes.
            if commands := running_commands():
                raise UserError(f"{commands[0]} is at work. Wait for it to end, and run this again.")
            yield Cache(repo)
        finally:
            repo.lock.unlock()


def running_commands() -> list[str]:
    """Return each live `dvc` command that has noted what it reads or writes, here or in a temporary experiment."""
    notes = [_TEMPORARY / "rwlock"]
    for depth in ("*", "*/*"):
        notes += sorted((_TEMPORARY / "exps").glob(f"{depth}/.dvc/tmp/rwlock"))
    owners = {owner for path in notes for owner in _owners(path)}
    return [f"`{command}` (process {pid})" for pid, command in sorted(owners) if psutil.pid_exists(pid)]


def _owners(path: Path) -> Iterator[tuple[int, str]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        writers = list(document.get("write", {}).values())
        readers = [one for several in document.get("read", {}).values() for one in several]
        owners = [(int(one["pid"]), str(one["cmd"])) for one in (*writers, *readers) if one]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # DVC mends it itself
        return
    yield from owners
