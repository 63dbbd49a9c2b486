"""Functions that worker processes can import."""

import os
import signal
import time
from pathlib import Path

from pipeline.core.errors import UserError


def sleepy(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def process_id(_: int) -> int:
    return os.getpid()


def inverse(number: int) -> float:
    return 1 / number


def working_directory(_: int) -> str:
    return str(Path.cwd())


def deadly_for_workers(number: int) -> int:
    """Kill the Dask worker that runs this; return the number anywhere else."""
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return -number
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refused(_: int) -> int:
    raise UserError("row 3 is wrong")
