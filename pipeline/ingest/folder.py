"""Take a folder of labelled pictures, DIR/<label>/**, into data/: bytes once, a sighting for each file.

Killed at any moment and run again, it ends in the same state: shards are named after their batch and written whole,
the batch's sightings come last, and a batch without sightings is begun anew.
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from pipeline import files, tables
from pipeline.errors import UserError
from pipeline.images import shards
from pipeline.ingest import sightings

SHARD_PICTURES = 1_000
SHARD_BYTES = 512 * 2**20
MAX_FILE_BYTES = 64 * 2**20

_HEADERS = {
    "decisions.csv": "sha256,old_label,new_label,reviewer,reason,decided_at,model_version\n",
    "reports.csv": "sha256,expected_label,slice,ticket,reported_at\n",
    "slices.csv": "sha256,slice\n",
}


@dataclass(frozen=True)
class Found:
    """A file below DIR: its label is the first folder's name, None for a file that lies in no folder."""

    path: bytes
    label: str | None
    origin: str


@dataclass(frozen=True)
class Taken:
    """What an ingest did: new sightings, of them contents stored for the first time, and files refused."""

    batch: str
    sighted: int
    stored: int
    refused: int
    shards: int


def scan(root: Path, labels: Iterable[str]) -> list[Found]:
    """List every file below `root`, sorted by its path's bytes, whatever its name.

    Raises:
        UserError: `root` is no folder, holds no file, or has a label that is not in `labels`.

    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder. Give one that holds a folder for each label.")
    found = [_found(root, path) for path in sorted(_walk(os.fsencode(root)))]
    known = list(labels)
    labelled = sorted({file.label for file in found if file.label is not None})
    strangers = [label for label in labelled if label not in known]
    if strangers:
        raise UserError(
            f"{root} has labels that params.yaml does not know: {', '.join(map(repr, strangers))}.\n"
            f"  found: {', '.join(map(repr, labelled))}\n  known (labels.names): {', '.join(map(repr, known))}\n"
            "Nothing was written. Rename the folders, or add the labels to labels.names."
        )
    if not labelled:
        raise UserError(
            f"{root} holds no labelled files: expected {root}/<label>/..., <label> one of {', '.join(known)}."
        )
    return found


def ingest(
    found: list[Found],
    data: Path,
    source: str,
    *,
    max_bytes: int = MAX_FILE_BYTES,
    progress: Callable[[list[Found]], Iterable[Found]] = iter,
) -> Taken:
    """Append what is new among `found` to `data` as one batch, and return what was done.

    A content stored before is sighted, not stored again; a file sighted before from the same place of the same source
    with the same bytes is not sighted again.
    """
    prepare(data)
    seen = sightings.load(data / "sightings")
    number = 1 + max((int(path.name[:4]) for path in (data / "sightings").glob("*.parquet")), default=0)
    batch = f"{number:04d}-{source}"
    for leftover in (data / "shards").glob(f"{number:04d}-*.tar"):
        leftover.unlink()  # of a batch that was killed before its sightings were written
    writer = _Writer(data / "shards", batch, known=set(seen["sha256"].dropna()))
    old = _identities(seen)
    rows = []
    for file in progress(found):
        row, content = _take(file, source, max_bytes)
        if (row["sha256"], row["label"], row["origin"], source) in old:
            continue
        rows.append(row)
        if content is not None:
            writer.add(str(row["sha256"]), _extension(file.origin), content)
    writer.flush()
    if rows:
        tables.write_parquet(sightings.frame(rows), data / "sightings" / f"{batch}.parquet")
    refused = sum(row["status"] == "refused" for row in rows)
    return Taken(batch, len(rows), writer.stored, refused, writer.shards)


def _identities(seen: pd.DataFrame) -> set[tuple[str | None, ...]]:
    columns = seen[["sha256", "label", "origin", "source"]].astype(object)
    return set(columns.where(columns.notna(), None).itertuples(index=False, name=None))


def prepare(data: Path) -> None:
    """Create what `data` must hold, and remove half-written files of a killed run."""
    for name in ("shards", "sightings"):
        (data / name).mkdir(parents=True, exist_ok=True)
    for leftover in sorted(data.rglob(".*.tmp")):
        leftover.unlink()
    for name, header in _HEADERS.items():
        if not (data / name).exists():
            with files.atomic(data / name) as temporary:
                temporary.write_text(header, encoding="utf-8")


def check_source(name: str) -> str:
    """Return `name` if it can name a batch, else raise UserError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UserError(
            f"--source {name!r}: use up to 64 letters, digits, '.', '_' and '-', for example 'reddit-2026-11'."
        )
    return name


def default_source(root: Path) -> str:
    """Return a batch name made of the folder's own name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", root.resolve().name).strip("-._")[:64] or "folder"


class _Writer:
    """Collects new contents and writes them as shards of the batch."""

    def __init__(self, folder: Path, batch: str, known: set[str]) -> None:
        self._folder, self._batch, self._known = folder, batch, known
        self._pending: list[tuple[str, str, bytes]] = []
        self._bytes = 0
        self.stored = self.shards = 0

    def add(self, sha256: str, extension: str, content: bytes) -> None:
        if sha256 in self._known:
            return
        self._known.add(sha256)
        self._pending.append((sha256, extension, content))
        self._bytes += len(content)
        if len(self._pending) >= SHARD_PICTURES or self._bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._pending:
            shards.write(self._folder / f"{self._batch}-{self.shards:05d}.tar", self._pending)
            self.stored += len(self._pending)
            self.shards += 1
            self._pending, self._bytes = [], 0


def _walk(folder: bytes) -> Iterator[bytes]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            else:
                yield entry.path


def _found(root: Path, path: bytes) -> Found:
    relative = os.path.relpath(path, os.fsencode(root)).decode("utf-8", "backslashreplace")
    label, slash, _ = relative.partition("/")
    return Found(path, label if slash else None, relative)


def _take(file: Found, source: str, max_bytes: int) -> tuple[dict[str, object], bytes | None]:
    content, modified, size, reason = _read(file, max_bytes)
    row: dict[str, object] = {
        "sha256": None if content is None else hashlib.sha256(content).hexdigest(),
        "label": file.label,
        "origin": file.origin,
        "source": source,
        # A file's own time, not the clock's: ingesting again gives the same row.
        "fetched_at": datetime.fromtimestamp(modified, UTC),
        "bytes": size,
        "status": "refused" if content is None else "stored",
        "reason": reason,
    }
    return row, content


def _read(file: Found, max_bytes: int) -> tuple[bytes | None, int, int, str]:
    """Return (content or None, modified s, bytes, reason); nothing but a regular file of a label is opened."""
    try:
        status = os.lstat(file.path)
        modified, size = int(status.st_mtime), status.st_size
        if not stat.S_ISREG(status.st_mode):
            kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "a device, pipe or socket"
            return None, modified, 0, f"not_a_file: {kind} is never followed"
        if file.label is None:
            return None, modified, size, "no_label: lies in no label's folder"
        if size > max_bytes:
            return None, modified, size, f"too_large: {size:,} bytes, more than {max_bytes:,}"
        handle = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, "rb") as opened:  # noqa: PTH123 -- a descriptor: what lstat saw cannot become a link
            content = opened.read(max_bytes + 1)
        if len(content) > max_bytes:  # it grew since lstat
            return None, modified, len(content), f"too_large: more than {max_bytes:,} bytes"
        return content, modified, len(content), ""
    except OSError as error:
        return None, 0, 0, f"unreadable: {error.strerror}"


def _extension(origin: str) -> str:
    suffix = Path(origin).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ""
