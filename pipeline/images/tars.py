"""The members of an untrusted tar: streamed, never unpacked to disk, each with its offset or its bytes.

Nothing is written to disk, so absolute names and links have no effect. Python's tarfile is restricted: it may not
allocate much memory (headers of gigabytes, sparse maps), and must report a damaged archive instead of just ending.
"""

import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO, NamedTuple, Protocol, Self

from pipeline.images.byte_source import ByteSource

MEMBER = "::"  # between the names of an archive and of its member
SUFFIXES = (b".tar", b".tar.gz", b".tgz", b".tar.xz", b".txz")
_MAX_HEADER = 2**20  # bytes of a long name or an extended header; real ones have hundreds
_XZ_MEMORY = 256 * 2**20  # a quarter of this is enough for archives of `xz -9`
_MAX_SKIPPED = 16  # times max_bytes: how much of a member is unpacked just to skip it
_CHUNK = 2**16


class Member(NamedTuple):
    """A file in an archive: its name and its bytes (or where to read them), or the `problem`.

    A damaged archive ends with a member without a name; its `problem` says why the rest of the archive is lost.
    """

    name: str
    content: ByteSource
    problem: str = ""
    offset: int = 0  # of its bytes in the archive
    size: int = 0


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def is_tar(name: bytes) -> bool:
    """Whether a file's name ends like that of an archive which this module reads."""
    return name.lower().endswith(SUFFIXES)


def printable(name: bytes | str) -> str:
    r"""Return a file's name as valid Unicode; a byte that is not UTF-8 becomes \\xff, for example."""
    data = os.fsencode(name) if isinstance(name, str) else name
    return data.decode("utf-8", "backslashreplace")


def members(path: bytes, max_bytes: int) -> Iterator[Member]:
    """Yield the files of an archive (plain, gz or xz) in its own order, without folders.

    In a compressed archive, members of at most `max_bytes` are read into memory, one at a time; in a plain one, none.
    """
    try:
        with ExitStack() as stack:
            file = stack.enter_context(os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC), "rb"))
            archive, packed = _open_archive(file, path)
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # or tarfile would keep them all in memory
                if info.isdir():
                    continue
                yield _member(archive, info, path if packed is None else None, max_bytes)
            if packed is not None:
                packed.read(_MAX_HEADER)  # read to the end, where the checksum of the whole stream is verified
    except Exception as error:  # noqa: BLE001 -- hostile archives raise anything: struct.error, zlib.error, RecursionError...
        yield Member("", ByteSource(), f"broken_archive: {_reason(error)}")


def _open_archive(file: BinaryIO, path: bytes) -> tuple[tarfile.TarFile, "_Readable | None"]:
    """Return the archive, and its decompressing reader; None if the archive is not compressed."""
    magic = file.read(6)
    file.seek(0)
    name = os.fsdecode(path)
    packed: Any = None
    if magic.startswith(b"\x1f\x8b"):
        packed = gzip.GzipFile(fileobj=file)
    elif magic == b"\xfd7zXZ\0":
        packed = _Xz(file)
    if packed is None:
        return tarfile.open(name, "r:", file, tarinfo=_Guarded), None
    return tarfile.open(name, "r|", packed, tarinfo=_Guarded), packed


def _member(archive: tarfile.TarFile, info: tarfile.TarInfo, path: bytes | None, max_bytes: int) -> Member:
    attributes: dict[str, Any] = {"name": info.name, "offset": info.offset_data, "size": info.size}
    if not info.isreg():
        return Member(content=ByteSource(), problem="not_a_file: a link or a device in an archive", **attributes)
    if info.size > max_bytes:
        if path is None and info.size > _MAX_SKIPPED * max_bytes:
            raise tarfile.ReadError(f"it holds a member of {info.size:,} bytes, too many to unpack only to get past it")
        problem = f"too_large: {info.size:,} bytes, more than {max_bytes:,}"
        return Member(content=ByteSource(), problem=problem, **attributes)
    if path is not None:
        return Member(content=ByteSource(path, info.offset_data, info.size, weight=info.size), **attributes)
    file = archive.extractfile(info)
    data = b"" if file is None else file.read()
    if len(data) < info.size:
        raise tarfile.ReadError("unexpected end of data")
    return Member(content=ByteSource(data=data, weight=info.size), **attributes)


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__


class _Guarded(tarfile.TarInfo):
    """A member that reads no large data by itself, and reports damage."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Return the next member; raise for a damaged header, which tarfile takes for the end of the archive."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"its headers are damaged or cut short ({error})") from None

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        extended = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
        if self.type in extended | {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK} and self.size > _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("it holds a sparse file, which is not read")
        return super()._proc_member(archive)  # type: ignore[misc]  # tarfile's own hook for subclasses, untyped

    def _proc_gnusparse_10(self, *_: Any) -> None:
        raise tarfile.ReadError("it holds a sparse file, which is not read")


class _Xz(io.RawIOBase):
    """Decompresses xz with a memory limit; lzma.LZMAFile has none, and a header may demand gigabytes."""

    def __init__(self, file: _Readable) -> None:
        self._file = file
        self._unpacker = self._new()

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes; b"" at the end.

        Raises:
            EOFError: the file is cut short.
            lzma.LZMAError: it is damaged, or needs too much memory.

        """
        while True:
            if self._unpacker.eof:  # an xz file may hold several streams, padded with zeros
                packed = self._unpacker.unused_data or self._file.read(_CHUNK)
                if not packed.strip(b"\0"):
                    return b""
                self._unpacker = self._new()
            elif self._unpacker.needs_input:
                packed = self._file.read(_CHUNK)
                if not packed:
                    raise EOFError("the compressed data is cut short")
            else:
                packed = b""
            if data := self._unpacker.decompress(packed, size):
                return data

    @staticmethod
    def _new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
