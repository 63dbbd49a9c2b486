"""Checks of this machine and its environment: packages, disk, memory, GPU."""

import shutil
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import psutil

from pipeline.core import executor, files
from pipeline.diagnosis.check import FAILED, WARNING, Check, ok
from pipeline.params.root import Params

_LOCK = Path("uv.lock")
_MOST_NAMED = 5
_GB = 1e9
_SPARE_BYTES = 2e9  # for what is not estimated: models, reports, checkpoints
_NVIDIA = Path("/proc/driver/nvidia/gpus")


def packages() -> Check:
    """Compare the installed packages with uv.lock."""
    if not _LOCK.is_file():
        return Check("packages", WARNING, "no uv.lock here: nothing to compare with", "run this in the project's root")
    locked: dict[str, set[str]] = {}
    for package in tomllib.loads(_LOCK.read_text(encoding="utf-8"))["package"]:
        locked.setdefault(package["name"], set()).add(package.get("version", ""))
    other = []
    for installed in metadata.distributions():
        name = (installed.metadata["Name"] or "").lower().replace("_", "-").replace(".", "-")
        if name in locked and name != "nsfw-pipeline" and installed.version not in locked[name]:
            other.append(f"{name} {installed.version} instead of {', '.join(sorted(locked[name]))}")
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    if not other:
        return ok("packages", f"{python}, as uv.lock has them")
    shown = "; ".join(sorted(other)[:_MOST_NAMED])
    return Check("packages", FAILED, f"{python}; {len(other)} differ from uv.lock: {shown}", "make install")


def disk(params: Params, pictures: int, stored_bytes: int) -> Check:
    """Compare free space with what a `dvc repro` of so many pictures may write, at most.

    It packs each picture as pixels (DVC's cache may hold a copy), and embeds it in float32, once and by view; the bytes
    of data/ are written once more by the next `dvc add`.
    """
    free = shutil.disk_usage(Path()).free
    packed = 2 * pictures * 3 * params.backbone.size**2
    embedded = pictures * (1 + params.embed.views) * 4 * 2_048
    wanted = packed + embedded + stored_bytes + _SPARE_BYTES
    text = f"{free / _GB:.0f} GB free; a rebuild of {pictures:,} pictures may need {wanted / _GB:.0f} GB"
    if free >= wanted:
        return ok("disk", text)
    remedy = "free some, or move the project; `dvc gc --workspace` deletes old versions from DVC's cache"
    return Check("disk", FAILED, text, remedy)


def memory(params: Params) -> Check:
    """Compare free memory with what the workers that open pictures may use."""
    available = psutil.virtual_memory().available
    workers = executor.cores()
    wanted = workers * params.catalog.memory_mb * 2**20
    text = f"{available / _GB:.1f} GB free; {workers} workers of catalog may use {wanted / _GB:.1f} GB"
    if available >= wanted:
        return ok("memory", text)
    return Check("memory", WARNING, text, "lower catalog.memory_mb, or run on a larger machine")


def gpu() -> Check:
    """Look whether this machine's GPUs are seen by TensorFlow."""
    present = len(list(_NVIDIA.iterdir())) if _NVIDIA.is_dir() else 0
    if not present:
        return ok("gpu", "none: training runs on the CPU")
    import tensorflow as tf

    seen = len(tf.config.list_physical_devices("GPU"))
    if seen == present:
        return ok("gpu", f"{seen} seen by TensorFlow")
    return Check("gpu", FAILED, f"{present} here, {seen} seen by TensorFlow", "make install EXTRAS=gpu")


def writable(folder: Path) -> Check:
    """Look whether files can be written in the project."""
    probe = folder / ".nsfw-doctor"
    files.write_text("", probe)
    probe.unlink()
    return ok("project folder", f"{folder.resolve()} can be written to")
