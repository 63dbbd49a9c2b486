"""Read build/fingerprints.parquet in batches: hashes into memory, thumbnails into a temporary file."""

import os
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import UserError
from pipeline.core.files import REBUILD, missing_message
from pipeline.duplicates.fingerprint import BYTES, SIDE, VIEWS

_ROWS = 4096


class Thumbnails:
    """Grey thumbnails, uint8 (64, 64) each, in an unnamed temporary file: none stays in memory."""

    def __init__(self) -> None:
        """Create an empty file, which is deleted with the object."""
        self._file = tempfile.TemporaryFile(prefix="thumbnails-", buffering=0)  # noqa: SIM115 -- closed with the object
        weakref.finalize(self, self._file.close)

    def put(self, rows: npt.NDArray[np.int64], thumbnails: npt.NDArray[np.uint8]) -> None:
        """Write thumbnails, (n, 64, 64), as these rows."""
        for row, thumbnail in zip(rows.tolist(), thumbnails, strict=True):
            os.pwrite(self._file.fileno(), thumbnail.tobytes(), row * SIDE * SIDE)

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return the thumbnails (n, 64, 64) of these rows, in their order.

        Raises:
            IndexError: there is no such row.

        """
        thumbnails = np.empty((len(rows), SIDE, SIDE), dtype=np.uint8)
        for index, row in enumerate(rows.tolist()):
            if (
                row < 0
                or os.preadv(self._file.fileno(), [memoryview(thumbnails[index])], row * SIDE * SIDE) < SIDE * SIDE
            ):
                raise IndexError(f"there is no thumbnail {row}")
        return thumbnails


class Fingerprints(NamedTuple):
    """The fingerprints of all contents, sorted by sha256: uint64 (n, views, 4) hashes, thumbnails, contrast."""

    sha256: npt.NDArray[np.str_]
    hashes: npt.NDArray[np.uint64]
    thumbnails: Thumbnails
    contrast: npt.NDArray[np.float64]


def load(path: Path) -> Fingerprints:
    """Read the table: about 420 bytes a row in memory, and 4 KB in an unnamed temporary file.

    Raises:
        UserError: the table is missing or broken, or its views are not those of this code.

    """
    try:
        with pq.ParquetFile(path, pre_buffer=False) as table:  # with it, pyarrow would read the whole file ahead
            return _load(table)
    except FileNotFoundError:
        raise UserError(missing_message(path)) from None
    except (pa.ArrowInvalid, KeyError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is not a table of fingerprints ({reason}). {REBUILD.format(path=path)}") from None


def _load(table: pq.ParquetFile) -> Fingerprints:
    names = np.array([name for _, batch in _batches(table, ["sha256"]) for name in batch["sha256"].to_pylist()], "U64")
    sha256, positions, counts = np.unique(names, return_inverse=True, return_counts=True)
    if counts.max(initial=1) > 1:
        raise ValueError(f"it holds {sha256[counts > 1][0]} twice")
    hashes = np.zeros((len(names), len(VIEWS) * BYTES), dtype=np.uint8)
    contrast = np.zeros(len(names))
    thumbnails = Thumbnails()
    for start, batch in _batches(table, ["hashes", "thumbnail", "contrast"]):
        rows = positions[start : start + batch.num_rows]
        hashes[rows] = _fixed(batch["hashes"], len(VIEWS) * BYTES)
        thumbnails.put(rows, _fixed(batch["thumbnail"], SIDE * SIDE).reshape(-1, SIDE, SIDE))
        contrast[rows] = batch["contrast"].to_numpy(zero_copy_only=False)
    return Fingerprints(sha256, hashes.view(np.uint64).reshape(-1, len(VIEWS), BYTES // 8), thumbnails, contrast)


def _batches(table: pq.ParquetFile, columns: list[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
    start = 0
    for batch in table.iter_batches(_ROWS, columns=columns):
        yield start, batch
        start += batch.num_rows


def _fixed(column: pa.Array, size: int) -> npt.NDArray[np.uint8]:
    joined = np.frombuffer(b"".join(column.to_pylist()), dtype=np.uint8)
    return joined.reshape(len(column), size)
