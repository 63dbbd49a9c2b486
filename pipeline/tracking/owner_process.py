"""Which process owns a run record, and whether it is still alive."""

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

# Two readings of a process' start time differ by the clock's resolution, and on some kernels by a clock adjustment.
_SAME_START_SECONDS = 2.0
# A process on another host (or in another container) cannot be inspected, but it writes a sample every 10 s.
_SILENT_SECONDS = 600.0


def this_process() -> dict[str, Any]:
    """Return what identifies this process among all processes, past and future, of all hosts."""
    return {"pid": os.getpid(), "started": psutil.Process().create_time(), "host": platform.node(), "boot": _boot()}


def is_alive(owner: Mapping[str, Any], folder: Path) -> bool:
    """Return whether the process that `this_process` described is still running.

    A process on another host counts as alive if a file in `folder` was written within the last ten minutes.
    """
    if owner.get("host") != platform.node():
        return time.time() - _last_write(folder) < _SILENT_SECONDS
    if owner.get("boot") != _boot():
        return False
    try:
        process = psutil.Process(int(owner["pid"]))
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - float(owner["started"])) < _SAME_START_SECONDS
    except psutil.AccessDenied:
        return True
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return False


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _last_write(folder: Path) -> float:
    return max((path.stat().st_mtime for path in folder.glob("*")), default=0.0)
