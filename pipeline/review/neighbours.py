"""Which pictures look alike to the network: nearest neighbours by the cosine of their embeddings, computed on demand.

Only the clean view is read, a quarter or less of build/embeddings; all pictures' neighbours are never computed at once.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError
from pipeline.training.embeddings import INDEX, Embeddings

_SPLITS = ("train", "val", "test")
_BATCH = 64


@dataclass(frozen=True)
class Neighbour:
    """Another picture, and the cosine of the two embeddings (1: the same direction)."""

    sha256: str
    similarity: float


class Neighbours:
    """The index: unit vectors float32 (n, d) of every split, and their sha256 in order."""

    def __init__(self, sha256: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        self._vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        self._sha256 = list(sha256)
        self._row = {name: row for row, name in enumerate(self._sha256)}

    @classmethod
    def load(cls, folder: Path) -> "Neighbours":
        """Read the embeddings below `folder`; without any, nothing has neighbours.

        Raises:
            UserError: a file is damaged.

        """
        parts = [Embeddings.load(folder / split) for split in _SPLITS if (folder / split / INDEX).is_file()]
        if not parts:
            return cls([], np.zeros((0, 1), np.float32))
        whole = Embeddings.join(parts)
        vectors = np.empty((len(whole), whole.width), np.float32)
        for part, features in whole.chunks():
            vectors[part] = features
        return cls(whole.sha256.tolist(), vectors)

    def of(self, sha256: Sequence[str], most: int) -> dict[str, list[Neighbour]]:
        """Return the `most` nearest others of each of these pictures, the nearest first; [] for unknown ones."""
        known = [one for one in dict.fromkeys(sha256) if one in self._row]
        nearest: dict[str, list[Neighbour]] = {one: [] for one in sha256}
        for start in range(0, len(known), _BATCH):
            batch = known[start : start + _BATCH]
            rows = [self._row[one] for one in batch]
            cosines = self._vectors[rows] @ self._vectors.T
            cosines[np.arange(len(rows)), rows] = -np.inf
            count = min(most, cosines.shape[1] - 1)
            if count < 1:
                continue
            best = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
            for name, row, columns in zip(batch, cosines, best, strict=True):
                ordered = columns[np.lexsort((columns, -row[columns]))]
                nearest[name] = [Neighbour(self._sha256[column], float(row[column])) for column in ordered]
        return nearest


class LazyNeighbours:
    """The index, read in a thread of its own from the start: until it is there, nothing has neighbours."""

    def __init__(self, folder: Path) -> None:
        self._index: Neighbours | None = None
        self.problem = ""
        self._thread = threading.Thread(target=self._load, args=(folder,), name="embeddings", daemon=True)
        self._thread.start()

    def _load(self, folder: Path) -> None:
        try:
            self._index = Neighbours.load(folder)
        except UserError as error:
            self.problem = str(error)

    def of(self, sha256: Sequence[str], most: int, *, wait_seconds: float = 10.0) -> dict[str, list[Neighbour]]:
        """Return what `Neighbours.of` does, waiting a little for the index."""
        self._thread.join(wait_seconds)
        return {one: [] for one in sha256} if self._index is None else self._index.of(sha256, most)
