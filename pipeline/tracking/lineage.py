"""Where a result comes from: code, data, packages and hardware, recorded by content when a run starts.

A field is null if its source does not exist: no git, no data.dvc, no GPU.
"""

import csv
import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipeline.core import git
from pipeline.core.errors import UserError
from pipeline.core.files import sha256_of
from pipeline.tracking.git_trees import working_tree

PACKAGES = ("tensorflow", "keras", "numpy", "mlflow", "pillow", "nsfw-pipeline")
_DIFF_LIMIT = 1_000_000  # characters
# `dvc repro` itself changes dvc.lock while it runs.
_SCOPE = ("--", ":(top)", ":(top,exclude)dvc.lock")


def capture(root: Path = Path()) -> dict[str, Any]:
    """Return the lineage of a run that starts now in `root`: git, data, packages, python and hardware."""
    return {
        "git": git_state(root),
        "data_md5": data_md5(root / "data.dvc"),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "hardware": hardware(),
    }


def git_state(root: Path) -> dict[str, Any]:
    """Return keys commit, dirty (the tree differs from it), untracked (files that git does not ignore), tree, problem.

    `problem` is git's own message if there is no commit, else None.
    """
    commit, problem = git.run("rev-parse", "--verify", "HEAD", root=root)
    status, unreadable = git.run("status", "--porcelain=v1", "-z", "--untracked-files=normal", *_SCOPE, root=root)
    if commit is None or status is None:
        return {"commit": None, "dirty": None, "untracked": [], "tree": None, "problem": unreadable or problem}
    untracked = [entry[3:] for entry in status.split("\0") if entry.startswith("?? ")]
    state = {"commit": commit.strip(), "dirty": bool(status), "untracked": untracked[:100]}
    return state | {"tree": working_tree(root), "problem": None}


def git_diff(root: Path = Path()) -> str:
    """Return how the tracked files differ from the commit, cut at a million characters; "" outside a repository."""
    diff = git.run("diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD", *_SCOPE, root=root).text or ""
    return diff if len(diff) <= _DIFF_LIMIT else diff[:_DIFF_LIMIT] + "\n... cut\n"


def data_md5(pointer: Path) -> str | None:
    """Return the md5 of the data that `pointer` (data.dvc) names; None if it cannot be read."""
    try:
        return str(yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]["md5"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, IndexError, TypeError):
        return None


def describe_input(path: Path) -> dict[str, Any]:
    """Return the name, path, sha256 and number of rows (None for a folder) of a table or folder.

    Raises:
        UserError: it does not exist.

    """
    if not path.exists():
        raise UserError(f"{path} does not exist. Run `dvc repro --pull`, which makes what is missing.")
    return {"name": path.as_posix(), "path": path.as_posix(), "digest": digest(path), "rows": _rows(path)}


def digest(path: Path) -> str:
    """Return a file's sha256; a folder's is over its sorted relative paths and their files' sha256."""
    if path.is_file():
        return sha256_of(path)
    total = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        total.update(f"{file.relative_to(path).as_posix()}\0{digest(file)}\n".encode())
    return total.hexdigest()


def hardware() -> dict[str, Any]:
    """Return the processor's model, usable cores, memory in bytes, and the GPUs with their memory."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": _gpus(),
    }


def _rows(path: Path) -> int | None:
    try:
        if path.suffix == ".parquet":
            return int(pq.read_metadata(path).num_rows)
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as handle:
                return max(sum(1 for _ in csv.reader(handle)) - 1, 0)
    except (pa.ArrowInvalid, OSError, csv.Error, UnicodeDecodeError):
        return None  # the stage that reads the table reports what is wrong with it
    return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _gpus() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        listing = subprocess.run(command, capture_output=True, check=True, timeout=30)  # noqa: S603 -- no shell; our own arguments
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in listing.stdout.decode("utf-8", errors="replace").splitlines() if line.strip()]
