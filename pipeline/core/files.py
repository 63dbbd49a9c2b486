"""Files written whole or not at all, and small JSON documents."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError

REBUILD = "Delete {path} and run `dvc repro` (a stage's output), or `dvc checkout` (tracked data)."
_DISK_FULL = os.strerror(errno.ENOSPC)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it over `path` on success, remove it on any failure.

    Raises:
        UserError: `path` is a folder, or lies in a file; nothing was written.
        OSError: with errno ENOSPC and naming `path`, where the disk is full, whoever wrote.

    """
    check_target(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except Exception as error:
        if _DISK_FULL in str(error):  # TensorFlow's own error has no errno, and pyarrow's no file name
            raise OSError(errno.ENOSPC, _DISK_FULL, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_target(path: Path) -> None:
    """Raise UserError if no file can be written as `path`, for what is there already; before the work, not after it."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, and a file is to be written there. Name another path, or move it away.")
    above = next((parent for parent in path.parents if parent.exists() or parent.is_symlink()), None)
    if above is not None and not above.is_dir():
        raise UserError(f"{path} cannot be written: {above} is no folder. Name another path, or move it away.")


def write_json(document: Any, path: Path) -> None:
    """Write `document` as sorted, indented JSON."""
    with atomic(path) as temporary:
        temporary.write_text(
            json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def write_text(text: str, path: Path) -> None:
    """Write `text` as UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_bytes(path: Path, *, way_out: str = "") -> bytes:
    """Read a file, or say that it is missing or a folder; `way_out` tells how it comes back, if not by `dvc repro`."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist. {way_out}" if way_out else missing(path)) from None
    except IsADirectoryError:
        raise UserError(folder(path, way_out=way_out)) from None


def read_json(path: Path) -> Any:
    """Read a JSON document, or say which file is missing or broken."""
    data = read_bytes(path)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}). {REBUILD.format(path=path)}") from None


def read_object(path: Path, *keys: str) -> dict[str, Any]:
    """Read a JSON object that has `keys`; dots lead into objects within it: `quarantined.total`.

    Raises:
        UserError: the file is missing, a folder, broken, or holds something else; the message tells the way out.

    """
    document = read_json(path)
    lacking = [key for key in keys if not _has(document, key.split("."))]
    if not isinstance(document, dict) or lacking:
        what = f"lacks {', '.join(lacking)}" if isinstance(document, dict) else "is no JSON object"
        raise UserError(f"{path} {what}. {REBUILD.format(path=path)}")
    return document


def _has(document: Any, way: list[str]) -> bool:
    for name in way:
        if not isinstance(document, dict) or name not in document:
            return False
        document = document[name]
    return True


def folder(path: Path, *, way_out: str = "") -> str:
    """Return what to tell about a folder that lies where a file should."""
    return f"{path} is a folder, not a file. {way_out or REBUILD.format(path=path)}"


def missing(path: Path) -> str:
    """Return what to tell about a file that is not there."""
    return f"{path} does not exist. Run `dvc repro --pull`, which makes what is missing."
