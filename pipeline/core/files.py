"""Files written whole or not at all, and small JSON documents."""

import errno
import hashlib
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
        UserError: `path` is a folder, or one of its parents is a file; nothing was written.
        OSError: ENOSPC for `path` if the disk is full, whichever library raised it.

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
    """Raise UserError if something else than a file stands at `path` or above it. Call it before long work."""
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


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def read_bytes(path: Path, *, remedy: str = "") -> bytes:
    """Return a file's bytes.

    Raises:
        UserError: it is missing or a folder; `remedy` says how to restore it, if not by `dvc repro`.

    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist. {remedy}" if remedy else missing_message(path)) from None
    except IsADirectoryError:
        raise UserError(folder_message(path, remedy=remedy)) from None


def read_json(path: Path) -> Any:
    """Return a JSON document.

    Raises:
        UserError: the file is missing, a folder or broken.

    """
    data = read_bytes(path)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}). {REBUILD.format(path=path)}") from None


def read_object(path: Path, *keys: str) -> dict[str, Any]:
    """Return a JSON object that has `keys`. Dots lead into nested objects: `quarantined.total`.

    Raises:
        UserError: the file is missing, a folder or broken, or holds something else; the message says what to do.

    """
    document = read_json(path)
    lacking = [key for key in keys if not _has(document, key.split("."))]
    if not isinstance(document, dict) or lacking:
        what = f"lacks {', '.join(lacking)}" if isinstance(document, dict) else "is no JSON object"
        raise UserError(f"{path} {what}. {REBUILD.format(path=path)}")
    return document


def _has(document: Any, keys: list[str]) -> bool:
    for name in keys:
        if not isinstance(document, dict) or name not in document:
            return False
        document = document[name]
    return True


def folder_message(path: Path, *, remedy: str = "") -> str:
    """Return the message about a folder that stands where a file should."""
    return f"{path} is a folder, not a file. {remedy or REBUILD.format(path=path)}"


def missing_message(path: Path) -> str:
    """Return the message about a file that does not exist."""
    return f"{path} does not exist. Run `dvc repro --pull`, which makes what is missing."
