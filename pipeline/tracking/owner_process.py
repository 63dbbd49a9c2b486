"""Which process owns a run record, and whether it still lives."""

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

# Two readings of one process' start differ by the clock's grain, and by a step of the system clock on some kernels.
_SAME_START_SECONDS = 2.0
# A process on another host (or in another container) cannot be looked at. It samples the system every 10 s.
_SILENT_SECONDS = 600.0


def this_process() -> dict[str, Any]:
    """Return what tells this process from any other, before or after, on this host or another."""
    return {"pid": os.getpid(), "started": psutil.Process().create_time(), "host": platform.node(), "boot": _boot()}


def is_alive(owner: Mapping[str, Any], folder: Path) -> bool:
    """Say whether the process that `this_process` described still runs.

    One on another host counts as alive as long as something under `folder` was written within ten minutes.
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
