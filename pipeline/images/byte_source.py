"""A place where bytes lie (a file, a part of a file, memory) to squares and a digest, in a sandbox worker."""

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.images.limits import Rejected
from pipeline.images.preprocessing import FrameSquares, Squaring

TOO_MUCH_MEMORY = "memory: needs more memory than a picture may use"


class Content(NamedTuple):
    """Where a picture's bytes lie: `data`, or `size` bytes from `offset` of the file `path` (None: all of it).

    `weight` is how many bytes there were when it was found.
    """

    path: bytes = b""
    offset: int = 0
    size: int | None = None
    data: bytes | None = None
    weight: int = 0


class Read(NamedTuple):
    """What came of a content: its sha256 ("" where it could not be read), and its frames or the `code: detail`."""

    sha256: str
    frames: FrameSquares | None
    problem: str = ""


@dataclass(frozen=True)
class Reading:
    """How to read: into which squares, at most so many bytes each."""

    squaring: Squaring
    max_bytes: int

    def read(self, content: Content) -> Read:
        """Return what came of it: a bad picture has its digest too.

        Raises:
            MemoryError: it needs more than this process may use, or than was left in one piece: try it in a fresh one.

        """
        sha256 = ""
        try:
            data = load(content, self.max_bytes)
            sha256 = hashlib.sha256(data).hexdigest()
            return Read(sha256, self.squaring.frames_from_bytes(data))
        except Rejected as rejected:
            return Read(sha256, None, str(rejected))


def load(content: Content, max_bytes: int) -> bytes:
    """Return the bytes.

    Raises:
        Rejected: code `unreadable` (gone, forbidden, cut short), `not_a_file` or `too_large`.

    """
    try:
        data = _stored(content, max_bytes) if content.data is None else content.data
    except OSError as error:
        raise Rejected("unreadable", error.strerror or type(error).__name__) from None
    if len(data) > max_bytes:
        raise Rejected("too_large", f"more than {max_bytes:,} bytes")
    if content.size is not None and len(data) < content.size:
        raise Rejected("unreadable", f"cut short: {len(data):,} of {content.size:,} bytes")
    return data


def _stored(content: Content, max_bytes: int) -> bytes:
    handle = os.open(content.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):  # it was a file when it was listed
            raise Rejected("not_a_file", "no regular file")
        size = about.st_size if content.size is None else content.size
        if size > max_bytes:
            raise Rejected("too_large", f"{size:,} bytes, more than {max_bytes:,}")
        file.seek(content.offset)
        return file.read(max_bytes + 1 if content.size is None else size)
