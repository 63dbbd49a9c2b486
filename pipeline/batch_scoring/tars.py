"""The members of a tar that nobody vouches for: streamed, never unpacked, each with its place or its bytes.

Nothing of an archive is written anywhere, so absolute names and links lead nowhere. Python's tarfile is kept from what
would cost memory (headers of gigabytes, sparse maps), and from ending a damaged archive in silence.
"""

import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO, NamedTuple, Protocol, Self

from pipeline.images.byte_source import Content

SUFFIXES = (b".tar", b".tar.gz", b".tgz", b".tar.xz", b".txz")
_HEADER = 2**20  # bytes of a long name or of extended headers; real ones have hundreds
_XZ_MEMORY = 256 * 2**20  # what `xz -9` needs to unpack is a quarter of it
_PASSED_OVER = 16  # times max_bytes: what is unpacked of a member only to get past it
_CHUNK = 2**16


class Member(NamedTuple):
    """A file in an archive: its name, where or what its bytes are, or the `problem` that it has instead.

    An archive that is damaged ends in one without a name: what follows in it is lost, and `problem` says why.
    """

    name: str
    content: Content
    problem: str = ""
    place: int = 0  # of its bytes in the archive
    size: int = 0


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def is_tar(name: bytes) -> bool:
    """Whether a file's name says that it is an archive which this module opens."""
    return name.lower().endswith(SUFFIXES)


def members(path: bytes, max_bytes: int) -> Iterator[Member]:
    """Yield the files of an archive (plain, gz or xz) in its own order; folders are passed over.

    Of a compressed one each member of at most `max_bytes` is read into memory, one at a time; of a plain one none is.
    """
    try:
        with ExitStack() as stack:
            file = stack.enter_context(os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC), "rb"))
            archive, packed = _opened(file, path)
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it would remember them all
                if info.isdir():
                    continue
                yield _member(archive, info, path if packed is None else None, max_bytes)
            if packed is not None:
                packed.read(_HEADER)  # what is left: with its end comes the checksum of all that was read
    except Exception as error:  # noqa: BLE001 -- hostile archives raise anything: struct.error, zlib.error, RecursionError...
        yield Member("", Content(), f"broken_archive: {_said(error)}")


def _opened(file: BinaryIO, path: bytes) -> tuple[tarfile.TarFile, "_Readable | None"]:
    """Return the archive, and what unpacks it; None where its members lie in the file as they are."""
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
    about: dict[str, Any] = {"name": info.name, "place": info.offset_data, "size": info.size}
    if not info.isreg():
        return Member(content=Content(), problem="not_a_file: a link or a device in an archive", **about)
    if info.size > max_bytes:
        if path is None and info.size > _PASSED_OVER * max_bytes:
            raise tarfile.ReadError(f"it holds a member of {info.size:,} bytes, too many to unpack only to get past it")
        problem = f"too_large: {info.size:,} bytes, more than {max_bytes:,}"
        return Member(content=Content(), problem=problem, **about)
    if path is not None:
        return Member(content=Content(path, info.offset_data, info.size, weight=info.size), **about)
    file = archive.extractfile(info)
    data = b"" if file is None else file.read()
    if len(data) < info.size:
        raise tarfile.ReadError("unexpected end of data")
    return Member(content=Content(data=data, weight=info.size), **about)


def _said(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__


class _Guarded(tarfile.TarInfo):
    """A member that costs no memory before anybody has asked for it, and whose damage is told."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Return the next member; tarfile itself takes a damaged header, or none, for the end of the archive."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"its headers are damaged or cut short ({error})") from None

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        extended = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
        if self.type in extended | {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK} and self.size > _HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("it holds a sparse file, which is not read")
        return super()._proc_member(archive)  # type: ignore[misc]  # tarfile's own hook for subclasses, untyped

    def _proc_gnusparse_10(self, *_: Any) -> None:
        raise tarfile.ReadError("it holds a sparse file, which is not read")


class _Xz(io.RawIOBase):
    """Unpacks xz with a limit of memory; lzma.LZMAFile has none, and a header may ask for gigabytes."""

    def __init__(self, file: _Readable) -> None:
        self._file = file
        self._unpacker = self._new()

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, none at the end.

        Raises:
            EOFError: the file is cut short.
            lzma.LZMAError: it is damaged, or needs too much memory.

        """
        while True:
            if self._unpacker.eof:
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
