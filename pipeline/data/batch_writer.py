"""Writes a batch of data/ in data/.incoming, and moves it in place when it is complete.

An ingest that is killed at any moment and run again ends in the same state. data/.incoming only holds files of the
batch that was being written. Its sightings are written last: if they exist, the batch is complete and `recover` moves
it in place, shards first, so that no sighting is ever without its bytes; otherwise the batch is started again.
"""

import hashlib
import shutil
from pathlib import Path

import pandas as pd

from pipeline.core import tables
from pipeline.data import batch_names, shards

SHARD_PICTURES = 1_000
SHARD_BYTES = 512 * 2**20
FETCHES = "fetches"  # the folder, in data/, of a batch's second table: what its sources answered, a row for a sighting
INCOMING = ".incoming"  # in data/, so that a move is a rename; .dvcignore names it


class Writer:
    """Collects new contents, writes them as shards into data/.incoming, and moves them in place as a batch."""

    def __init__(self, data: Path, known: set[str]) -> None:
        """Begin a batch for `data`, whose stored contents are `known` (sha256). It changes `known`."""
        self._data, self._known = data, known
        self._pending: list[tuple[str, str, bytes]] = []
        self._bytes = 0
        self._digest = hashlib.sha256()
        self.stored = self.shards = 0

    def add(self, sha256: str, extension: str, content: bytes) -> None:
        """Add a content, unless it is known."""
        if sha256 in self._known:
            return
        self._known.add(sha256)
        self._pending.append((sha256, extension, content))
        self._bytes += len(content)
        if len(self._pending) >= SHARD_PICTURES or self._bytes >= SHARD_BYTES:
            self._flush()

    def commit(self, number: int, source: str, sighted: pd.DataFrame, *, fetches: pd.DataFrame | None = None) -> str:
        """Store what was added, with its sightings, as batch `number` of `source`; return the batch's name.

        `fetches`: a table of what the sources answered, for data/fetches.
        """
        self._flush()
        if fetches is not None:
            tables.write_parquet(fetches, self._data / INCOMING / FETCHES)
        table = self._data / INCOMING / "sightings"
        tables.write_parquet(sighted, table)
        self._digest.update(table.read_bytes())
        batch = batch_names.name(number, source, self._digest.hexdigest())
        table.rename(table.with_name(f"{batch}.parquet"))
        recover(self._data)
        return batch

    def discard(self) -> None:
        """Delete what was added."""
        shutil.rmtree(self._data / INCOMING, ignore_errors=True)

    def _flush(self) -> None:
        if self._pending:
            shards.write(self._data / INCOMING / f"{self.shards:05d}.tar", self._pending)
            self._digest.update("".join(f"{sha256}{end}\n" for sha256, end, _ in self._pending).encode() + b"\n")
            self.stored += len(self._pending)
            self.shards += 1
            self._pending, self._bytes = [], 0


def recover(data: Path) -> None:
    """Move a complete batch from data/.incoming in place; delete an incomplete one."""
    incoming = data / INCOMING
    for table in sorted(incoming.glob("*.parquet")):  # one at most
        for shard in sorted(incoming.glob("*.tar")):
            shard.rename(data / "shards" / f"{table.stem}-{shard.name}")
        if (incoming / FETCHES).exists():
            (data / FETCHES).mkdir(exist_ok=True)
            (incoming / FETCHES).rename(data / FETCHES / table.name)
        table.rename(data / "sightings" / table.name)
    shutil.rmtree(incoming, ignore_errors=True)
