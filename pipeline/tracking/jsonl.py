"""Append-only files with one JSON document per line, whose writer may be killed at any moment."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def append(document: Mapping[str, Any], path: Path) -> None:
    """Add one line; it is on disk when this returns."""
    line = json.dumps(document)
    with path.open("ab") as handle:
        handle.write(f"{line}\n".encode())
        handle.flush()
        os.fsync(handle.fileno())


def drop_torn_line(path: Path) -> None:
    """Remove an incomplete last line, so that the next line does not continue it."""
    with suppress(FileNotFoundError), path.open("rb+") as handle:
        data = handle.read()
        handle.truncate(data.rfind(b"\n") + 1)


def read_lines(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Return the complete lines of a .jsonl file from byte `offset` on, and the offset after them.

    An incomplete last line (still being written, or cut by a power failure) is left for the next call. A line that is
    not JSON is skipped.
    """
    try:
        with path.open("rb") as handle:
            handle.seek(offset)
            data = handle.read()
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    lines = []
    for line in whole.splitlines():
        with suppress(ValueError):
            lines.append(json.loads(line))
    return lines, offset + len(whole)
