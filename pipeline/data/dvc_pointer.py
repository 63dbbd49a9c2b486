"""The pointer data.dvc, and the files of the version of data/ that it names."""

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


def dvc(*arguments: str, seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run DVC without telemetry; return the finished process, with its output as text.

    Raises:
        subprocess.TimeoutExpired: it took longer than `seconds`.

    """
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(  # noqa: S603 -- no shell; our own arguments
        command, env=environment, capture_output=True, text=True, check=False, timeout=seconds
    )


def cache_folder() -> Path | None:
    """Return the folder of DVC's cache that holds files by md5, as `ab/cdef...`; None if DVC fails."""
    done = dvc("cache", "dir")
    return Path(done.stdout.strip()) / "files" / "md5" if done.returncode == 0 and done.stdout.strip() else None


def object_path(cache: Path, md5: str) -> Path:
    """Return the path of an object in the cache."""
    return cache / md5[:2] / md5[2:]


def read_out() -> Mapping[str, Any]:
    """Return the entry of data/ in data.dvc: `md5, size, nfiles, ...`; {} if there is no data.dvc.

    Raises:
        UserError: it is not readable.

    """
    if not POINTER.exists():
        return {}
    try:
        (data_out,) = (yaml.safe_load(POINTER.read_text(encoding="utf-8")) or {}).get("outs") or [{}]
        return dict(data_out)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{POINTER} is not readable ({reason}). If git left a conflict in it, `nsfw data merge` resolves it; "
            f"else `git checkout {POINTER}` brings it back."
        ) from None


def files_of(md5: str) -> dict[str, str] | None:
    """Return the md5 of each file of a version of data/, by relative path; None if DVC's cache lacks the list."""
    here = listing(_USUAL, md5)
    if here is not None:  # the usual folder first: running DVC takes seconds
        return here
    cache = cache_folder()
    return listing(cache, md5) if cache else None


def listing(cache: Path, md5: str) -> dict[str, str] | None:
    """Return the md5 of each file of a versioned folder, by relative path; None if the cache lacks the list."""
    try:
        entries = json.loads(object_path(cache, md5).read_text(encoding="utf-8"))
        return {str(entry["relpath"]): str(entry["md5"]) for entry in entries}
    except (OSError, ValueError, KeyError, TypeError):
        return None
