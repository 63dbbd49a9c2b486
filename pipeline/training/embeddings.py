"""Pooled backbone features of a split, on disk and as they are read: a part at a time, never as a whole.

build/embeddings/<split>/ holds index.parquet (`sha256`, `label`: an index, a row a picture) and the features of these
rows (feature_shards.py). The index is written last: a folder without it is unfinished.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.core import tables
from pipeline.core.errors import UserError
from pipeline.core.files import REBUILD
from pipeline.training.feature_shards import FeatureShards

Integers = npt.NDArray[np.integer[Any]]

INDEX = "index.parquet"
_CHUNK = 1024  # rows; reading more at once costs new pages of memory for each array, and twice the time


class Vectors(Protocol):
    """What holds vectors."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Views, rows, width."""

    def take(self, rows: Integers, view: Integers | int) -> npt.NDArray[np.float32]:
        """Return the vectors of `rows` (m) in one view, or each in its own (m): float32 (m, width)."""


@dataclass(frozen=True)
class _Array:
    """Vectors in memory, (views, rows, width)."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        views, rows, width = self.array.shape
        return views, rows, width

    def take(self, rows: Integers, view: Integers | int) -> npt.NDArray[np.float32]:
        return np.asarray(self.array[view, rows], np.float32)


@dataclass(frozen=True)
class Embeddings:
    """Pictures with their sha256 (n), label indices (n), and vectors: view 0 is the clean picture.

    `rows` (n): the row of each picture, counted over all of `vectors`.
    """

    vectors: tuple[Vectors, ...]
    rows: Integers
    sha256: np.ndarray
    label: np.ndarray

    @classmethod
    def load(cls, folder: Path) -> "Embeddings":
        """Open a split's folder.

        Raises:
            UserError: it is missing or damaged.

        """
        index = tables.read_parquet(folder / INDEX, ["sha256", "label"])
        vectors = FeatureShards(folder)
        if vectors.shape[1] != len(index):
            reason = f"not readable (it has {len(index)} rows, and features of {vectors.shape[1]})"
            raise UserError(f"{folder / INDEX} is {reason}. {REBUILD.format(path=folder)}")
        return cls((vectors,), np.arange(len(index)), index["sha256"].to_numpy(str), index["label"].to_numpy(np.int64))

    @classmethod
    def of_array(cls, vectors: np.ndarray, sha256: np.ndarray, label: np.ndarray) -> "Embeddings":
        """Return embeddings that lie in memory; `vectors`: (views, n, width)."""
        return cls((_Array(vectors),), np.arange(len(label)), sha256, label)

    @classmethod
    def join(cls, parts: "Sequence[Embeddings]") -> "Embeddings":
        """Return the pictures of several splits as one, in order; all have as many views as the fewest."""
        sizes = [sum(vectors.shape[1] for vectors in part.vectors) for part in parts]
        starts = np.cumsum([0, *sizes[:-1]])
        return cls(
            tuple(vectors for part in parts for vectors in part.vectors),
            np.concatenate([part.rows + start for part, start in zip(parts, starts, strict=True)]),
            np.concatenate([part.sha256 for part in parts]),
            np.concatenate([part.label for part in parts]),
        )

    def select(self, which: np.ndarray) -> "Embeddings":
        """Return some of the pictures, by indices (m) or a mask (n)."""
        return Embeddings(self.vectors, self.rows[which], self.sha256[which], self.label[which])

    def relabelled(self, label: np.ndarray) -> "Embeddings":
        """Return the same pictures with other label indices (n)."""
        return replace(self, label=label)

    def __len__(self) -> int:
        """Return how many pictures there are."""
        return len(self.label)

    @property
    def views(self) -> int:
        """How many vectors each picture has."""
        return min(vectors.shape[0] for vectors in self.vectors)

    @property
    def width(self) -> int:
        """How many features a vector has."""
        return self.vectors[0].shape[2]

    def take(self, pictures: Integers, view: Integers | int) -> npt.NDArray[np.float32]:
        """Return the vectors of pictures (m, indices) in one view, or each in its own (m): float32 (m, width)."""
        if len(self.vectors) == 1:
            return self.vectors[0].take(self.rows[pictures], view)
        rows = self.rows[pictures]
        starts = np.cumsum([0, *(vectors.shape[1] for vectors in self.vectors)])
        number = np.searchsorted(starts, rows, side="right") - 1
        each = np.broadcast_to(view, rows.shape)
        taken = np.empty((len(rows), self.width), np.float32)
        for index in np.unique(number):
            mine = number == index
            taken[mine] = self.vectors[index].take(rows[mine] - starts[index], each[mine])
        return taken

    def chunks(self, view: int = 0) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Yield (pictures, their vectors (m, width) in a view) for all pictures in order."""
        for start in range(0, len(self), _CHUNK):
            part = slice(start, min(len(self), start + _CHUNK))
            yield part, self.take(np.arange(part.start, part.stop), view)


def write_index(folder: Path, sha256: Sequence[str], label: Sequence[int] | np.ndarray) -> None:
    """Write the index of a split's folder, whose features have been written."""
    table = pd.DataFrame({"sha256": np.asarray(sha256, dtype=str), "label": np.asarray(label, np.int64)})
    tables.write_parquet(table.astype({"sha256": "str"}), folder / INDEX)
