"""Read a picture's bytes (a file, a part of a file, memory) into model pixels and a digest, in a sandbox worker."""

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.images.limits import Rejected
from pipeline.images.preprocessing import FramePixels, Preprocessor

TOO_MUCH_MEMORY = "memory: needs more memory than a picture may use"


class ByteSource(NamedTuple):
    """The source of a picture's bytes: `data`, or `size` bytes from `offset` of the file `path` (None: all of it).

    `weight` is the number of bytes when it was listed.
    """

    path: bytes = b""
    offset: int = 0
    size: int | None = None
    data: bytes | None = None
    weight: int = 0


class ReadResult(NamedTuple):
    """The result of reading: the sha256 ("" if it could not be read), and the frames or the problem, `code: detail`."""

    sha256: str
    frames: FramePixels | None
    problem: str = ""


@dataclass(frozen=True)
class ByteReader:
    """Reads sources of at most `max_bytes` each, with `preprocessor`."""

    preprocessor: Preprocessor
    max_bytes: int

    def read(self, source: ByteSource) -> ReadResult:
        """Return the digest and the frames, or the problem: a bad picture has its digest too.

        Raises:
            MemoryError: it needs more than this process may use, or than is free in one piece: try it in a fresh one.

        """
        sha256 = ""
        try:
            data = load(source, self.max_bytes)
            sha256 = hashlib.sha256(data).hexdigest()
            return ReadResult(sha256, self.preprocessor.frames_from_bytes(data))
        except Rejected as rejected:
            return ReadResult(sha256, None, str(rejected))


def load(source: ByteSource, max_bytes: int) -> bytes:
    """Return the bytes.

    Raises:
        Rejected: code `unreadable` (gone, forbidden, cut short), `not_a_file` or `too_large`.

    """
    try:
        data = _read_stored(source, max_bytes) if source.data is None else source.data
    except OSError as error:
        raise Rejected("unreadable", error.strerror or type(error).__name__) from None
    if len(data) > max_bytes:
        raise Rejected("too_large", f"more than {max_bytes:,} bytes")
    if source.size is not None and len(data) < source.size:
        raise Rejected("unreadable", f"cut short: {len(data):,} of {source.size:,} bytes")
    return data


def _read_stored(source: ByteSource, max_bytes: int) -> bytes:
    handle = os.open(source.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):  # it was a file when it was listed, but no longer is
            raise Rejected("not_a_file", "no regular file")
        size = about.st_size if source.size is None else source.size
        if size > max_bytes:
            raise Rejected("too_large", f"{size:,} bytes, more than {max_bytes:,}")
        file.seek(source.offset)
        return file.read(max_bytes + 1 if source.size is None else size)
