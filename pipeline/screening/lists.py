"""Reads list files: a hash a line, checked strictly, because a list that is half read screens for half of it.

Empty lines and lines that begin with # are skipped. Beyond the hash a line may have columns, after commas, semicolons,
tabs or spaces; they are ignored, but for the quality (0 to 100) that may follow a PDQ hash, as pdq-photo-hasher writes
it. A line may begin with its kind, as threatexchange's files do: `pdq f8f8f0ce...`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError
from pipeline.params.screens import ListKind, ScreenList

_DIGITS: dict[ListKind, int] = {"md5": 32, "sha1": 40, "sha256": 64, "pdq": 64}
_SEPARATORS = re.compile(rb"[,;\t ]+")
_SHOWN = 5  # wrong lines that a message lists


@dataclass(frozen=True)
class HashList:
    """A list's hashes, as bytes; uint8 (n, 32) for PDQ. `plain`: those left out because of their quality."""

    name: str
    kind: ListKind
    digests: frozenset[bytes]
    plain: int = 0

    def array(self) -> npt.NDArray[np.uint8]:
        """Return the hashes as uint8 (n, length), sorted."""
        length = _DIGITS[self.kind] // 2
        return np.frombuffer(b"".join(sorted(self.digests)), np.uint8).reshape(-1, length)


def read(wanted: ScreenList, least_quality: int) -> HashList:
    """Read a list; PDQ hashes whose quality is given and below `least_quality` are left out.

    Raises:
        UserError: the file cannot be read, has wrong lines (named by number), or holds no hash at all.

    """
    path = Path(wanted.file)
    digests: set[bytes] = set()
    problems: list[str] = []
    plain = 0
    for number, line in _lines(path, wanted):
        try:
            digest, quality = _entry(line, wanted.kind)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
            continue
        if quality is not None and quality < least_quality:
            plain += 1
        else:
            digests.add(digest)
    if problems:
        more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        lines = "\n".join(f"  {text}" for text in [*problems[:_SHOWN], *more])
        raise UserError(f"{path}, the {wanted.kind} list {wanted.name!r}, is wrong:\n{lines}\n{_WAY_OUT}")
    if not digests:
        why = f"each of its {plain} hashes is below ingest.screens.pdq_quality" if plain else "it holds no hash"
        raise UserError(f"{path}, the {wanted.kind} list {wanted.name!r}: {why}. {_WAY_OUT}")
    return HashList(wanted.name, wanted.kind, frozenset(digests), plain)


def _lines(path: Path, wanted: ScreenList) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that hold an entry, with their numbers from 1."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                text = (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip()
                if text and not text.startswith(b"#"):
                    yield number, text
    except OSError as error:
        raise UserError(
            f"{path}, the {wanted.kind} list {wanted.name!r}, cannot be read ({error.strerror}). {_WAY_OUT}"
        ) from None


def _entry(line: bytes, kind: ListKind) -> tuple[bytes, int | None]:
    """Return a line's hash, and the quality that a line of a PDQ list may give."""
    cells = [cell.strip(b'"') for cell in _SEPARATORS.split(line)]
    if cells[0].lower() == kind.encode():
        del cells[0]
    text = cells[0] if cells else b""
    if len(text) != _DIGITS[kind]:
        raise ValueError(
            f"{_shown(text)} has {len(text)} characters, and {kind} has {_DIGITS[kind]} hexadecimal digits"
        )
    try:
        digest = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        raise ValueError(f"{_shown(text)} is not hexadecimal") from None
    return digest, _quality(cells[1]) if kind == "pdq" and len(cells) > 1 else None


def _quality(cell: bytes) -> int | None:
    return int(cell) if re.fullmatch(rb"\d{1,3}", cell) and int(cell) <= 100 else None


def _shown(text: bytes) -> str:
    return repr(text[:40].decode("ascii", "replace")) + ("..." if len(text) > 40 else "")


_WAY_OUT = "Nothing is taken in or scored without it: bring it back, or take the list out of ingest.screens.lists."
