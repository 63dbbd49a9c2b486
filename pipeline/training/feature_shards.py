"""Vectors of pictures on disk: float16, in .npy files of a bounded size, written and read by rows, never as a whole.

`features-00000.npy` and so on hold arrays (views, rows, width), the rows in order. Vectors are read at their offset
with pread, so that a process' memory is what it asks for: the pages of a memory map would be counted as its own.
`features.sha256` has the files' digests, as `sha256sum --check` reads them.

Half precision keeps eleven bits of a feature. On photographs it costs no accuracy (docs/training.md).
"""

import math
import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core import files
from pipeline.core.errors import UserError

Integers = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.floating[Any]]

HALF = np.dtype("<f2")
_FILE_BYTES = 64 * 2**20
_PATTERN = "features-*.npy"
_DIGESTS = "features.sha256"


@dataclass(frozen=True)
class _File:
    """An open .npy file of shape (views, rows, width), whose data begin at byte `start`."""

    path: Path
    descriptor: int
    start: int
    shape: tuple[int, int, int]

    @property
    def size(self) -> int:
        """The bytes that a whole file has."""
        return self.start + math.prod(self.shape) * HALF.itemsize


class _Layout:
    """The position of each vector of several files: one count over all, with a gap between two files."""

    def __init__(self, opened: list[_File]) -> None:
        self.files = opened
        self.rows = np.cumsum([0, *(file.shape[1] for file in opened)])  # the first row of each file, and their number
        self._first = np.cumsum([0, *(file.shape[0] * file.shape[1] + 1 for file in opened[:-1])])
        views, _, self.width = opened[0].shape
        self.shape = views, int(self.rows[-1]), self.width
        # Closed when nobody reads any more: batches are read in threads of tf.data, which end when they like.
        weakref.finalize(self, _close, [file.descriptor for file in opened])

    def runs(self, rows: Integers, view: Integers | int) -> Iterator[tuple[_File, int, Integers]]:
        """Yield (file, byte offset, indices into `rows`) of vectors that follow one another in a file."""
        number = np.searchsorted(self.rows, rows, side="right") - 1
        lengths = np.diff(self.rows)
        positions = self._first[number] + np.asarray(view) * lengths[number] + rows - self.rows[number]
        order = np.argsort(positions, kind="stable")
        breaks = np.flatnonzero(np.diff(positions[order]) != 1) + 1
        for start, stop in pairwise([0, *breaks.tolist(), len(order)]) if len(order) else ():
            file = self.files[int(number[order[start]])]
            index = int(positions[order[start]] - self._first[number[order[start]]])
            yield file, file.start + index * self.width * HALF.itemsize, order[start:stop]


class FeatureShards:
    """A folder's vectors; `shape` is (views, rows, width)."""

    def __init__(self, folder: Path) -> None:
        """Open the files.

        Raises:
            UserError: one is missing, damaged or of another shape.

        """
        self._layout = _Layout([_opened(folder / name, digest) for digest, name in _digests(folder / _DIGESTS)])
        self.shape = self._layout.shape
        for file in self._layout.files:
            if (file.shape[0], file.shape[2]) != (self.shape[0], self.shape[2]):
                raise UserError(_DAMAGED.format(path=file.path, reason="its shape differs from the first file's"))

    def take(self, rows: Integers, view: Integers | int) -> npt.NDArray[np.float32]:
        """Return the vectors of `rows` (m) in one view, or each in its own (m): float32 (m, width).

        Raises:
            UserError: a file has been cut since it was opened.

        """
        vectors = np.empty((len(rows), self.shape[2]), HALF)
        for file, offset, indices in self._layout.runs(rows, view):
            wanted = len(indices) * self.shape[2] * HALF.itemsize
            data = os.pread(file.descriptor, wanted, offset)
            if len(data) != wanted:
                raise UserError(_DAMAGED.format(path=file.path, reason="it ends too early"))
            vectors[indices] = np.frombuffer(data, HALF).reshape(len(indices), -1)
        return vectors.astype(np.float32)


class FeatureWriter:
    """Writes a folder's vectors, in any order; those that are never written are zero."""

    def __init__(self, folder: Path, shape: tuple[int, int, int]) -> None:
        """Make the files, each of 64 MiB at most (or of one row), and delete those that were there."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in (*folder.glob(_PATTERN), folder / _DIGESTS):
            path.unlink(missing_ok=True)
        views, rows, width = shape
        most = max(1, _FILE_BYTES // max(1, views * width * HALF.itemsize))
        parts = [min(most, rows - start) for start in range(0, rows, most)] or [0]
        created = [_created(folder / f"features-{i:05d}.npy", (views, part, width)) for i, part in enumerate(parts)]
        self._layout = _Layout(created)
        self._digests = folder / _DIGESTS
        self.shape = shape

    def put(self, rows: Integers, view: Integers | int, vectors: npt.NDArray[np.float16]) -> None:
        """Write the vectors (m, width) of `rows` (m) in one view, or each in its own (m)."""
        for file, offset, indices in self._layout.runs(rows, view):
            _write(file.descriptor, np.ascontiguousarray(vectors[indices], HALF).tobytes(), offset)

    def finish(self) -> None:
        """Write the files' digests, without which nothing reads them."""
        lines = [f"{files.sha256_of(file.path)}  {file.path.name}\n" for file in self._layout.files]
        files.write_text("".join(lines), self._digests)


def to_half(vectors: Floats) -> npt.NDArray[np.float16]:
    """Return float16 vectors.

    Raises:
        UserError: a number is too large for it, or none.

    """
    with np.errstate(over="ignore"):
        half = vectors.astype(HALF)
    if not np.isfinite(half).all():
        raise UserError(
            "the backbone gives features beyond ±65,504, or none at all: are its weights and "
            "backbone.rescaling those that it was trained with?"
        )
    return half


def _created(path: Path, shape: tuple[int, int, int]) -> _File:
    with path.open("wb") as opened:
        header = {"descr": HALF.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(opened, header)
        file = _File(path, os.open(path, os.O_RDWR), opened.tell(), shape)
        opened.truncate(file.size)
    return file


def _digests(path: Path) -> list[tuple[str, str]]:
    """Return (digest, name) of each file, in the order of their rows."""
    text = files.read_bytes(path, remedy=files.REBUILD.format(path=path.parent)).decode("ascii", errors="replace")
    listed = [tuple(line.split("  ")) for line in text.splitlines()]
    names = [pair[-1] for pair in listed]
    if not listed or names != [f"features-{number:05d}.npy" for number in range(len(names))]:
        raise UserError(_DAMAGED.format(path=path, reason="it is no list of digests and files"))
    return [(pair[0], pair[-1]) for pair in listed]


def _opened(path: Path, digest: str) -> _File:
    try:
        if files.sha256_of(path) == digest:
            with path.open("rb") as opened:
                np.lib.format.read_magic(opened)
                shape, fortran, kind = np.lib.format.read_array_header_1_0(opened)
                if len(shape) == 3 and kind == HALF and not fortran:
                    return _File(path, os.dup(opened.fileno()), opened.tell(), shape)
        reason = f"it is not the file whose digest is in {_DIGESTS}"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise UserError(_DAMAGED.format(path=path, reason=reason))


def _write(descriptor: int, data: bytes, offset: int) -> None:
    written = 0
    while written < len(data):  # the kernel may write less than it was given
        written += os.pwrite(descriptor, data[written:], offset + written)


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


_DAMAGED = "{path} is not readable ({reason}). Delete its folder and run `dvc repro`."
