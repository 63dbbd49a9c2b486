"""Files of one JSON document a line, that only grow, and whose writer may die at any moment."""

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
    """Cut off a last line without its end, so that the next one does not run into it."""
    with suppress(FileNotFoundError), path.open("rb+") as handle:
        data = handle.read()
        handle.truncate(data.rfind(b"\n") + 1)


def read_lines(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Return the whole lines of a .jsonl from byte `offset` on, and the offset after them.

    A line without its end (still being written, or torn by a power cut) is left for the next time; one that is not
    JSON is passed over.
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
