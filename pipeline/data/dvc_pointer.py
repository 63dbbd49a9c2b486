"""What DVC holds of data/: the pointer data.dvc, and the files of the version that it names."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import UserError

POINTER = Path("data.dvc")
_USUAL = Path(".dvc/cache/files/md5")


def dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run DVC, without telemetry, and return what it said."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 -- no shell; our own arguments


def objects() -> Path | None:
    """Return the folder of DVC's cache in which a file lies by its md5, `ab/cdef...`; None where DVC refuses."""
    done = dvc("cache", "dir")
    return Path(done.stdout.strip()) / "files" / "md5" if done.returncode == 0 and done.stdout.strip() else None


def stored_at(cache: Path, md5: str) -> Path:
    """Return where an object of the cache lies."""
    return cache / md5[:2] / md5[2:]


def out() -> Mapping[str, Any]:
    """Return what data.dvc says of data/: `md5, size, nfiles, ...`; {} where there is none.

    Raises:
        UserError: it is not readable.

    """
    if not POINTER.exists():
        return {}
    try:
        (found,) = (yaml.safe_load(POINTER.read_text(encoding="utf-8")) or {}).get("outs") or [{}]
        return dict(found)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{POINTER} is not readable ({reason}). If git left a conflict in it, see docs/ingest.md; "
            f"else `git checkout {POINTER}` brings it back."
        ) from None


def files_of(md5: str) -> dict[str, str] | None:
    """Return the md5 of each file of a version of data/, by its path in there; None where DVC's cache lacks it."""
    here = listing(_USUAL, md5)
    if here is not None:  # named by its content, so that it is the right one; asking DVC costs seconds
        return here
    cache = objects()
    return listing(cache, md5) if cache else None


def listing(cache: Path, md5: str) -> dict[str, str] | None:
    """Return the md5 of each file of a versioned folder, by its path in there; None where the cache lacks the list."""
    try:
        entries = json.loads(stored_at(cache, md5).read_text(encoding="utf-8"))
        return {str(entry["relpath"]): str(entry["md5"]) for entry in entries}
    except (OSError, ValueError, KeyError, TypeError):
        return None
