"""Files written whole or not at all, and small JSON documents."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

REBUILD = "Delete {path} and run `dvc repro` (a stage's output), or `dvc checkout` (tracked data)."
_DISK_FULL = os.strerror(errno.ENOSPC)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it over `path` on success, remove it on any failure.

    Raises:
        OSError: with errno ENOSPC and naming `path`, where the disk is full, whoever wrote.

    """
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


def read_json(path: Path) -> Any:
    """Read a JSON document, or say which file is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(missing(path)) from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}). {REBUILD.format(path=path)}") from None


def missing(path: Path) -> str:
    """Return what to tell about a file that is not there."""
    return f"{path} does not exist. Run `dvc repro --pull`, which makes what is missing."
