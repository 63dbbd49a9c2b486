"""Actions of a hostile picture in the worker that opens it; importable by workers, and cheap to import."""

import os
import resource
import signal
import time

from pipeline.images.limits import Rejected


def act(what: str) -> object:
    """Run the action `what`, or return it in capitals if there is none; `burn 0.4` uses 0.4 s of CPU time."""
    name, _, seconds = what.partition(" ")
    if name == "burn":
        burn(float(seconds))
    return _ACTS[what]() if what in _ACTS else what.upper()


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def _reject() -> None:
    raise Rejected("broken", "not whole")


def _defect() -> None:
    raise ZeroDivisionError("ours")


_ACTS = {
    "hang": lambda: sum(range(10**12)),  # in C, the interpreter's lock held
    "wait": lambda: time.sleep(60),
    "exit": lambda: os._exit(3),
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hog": lambda: len(bytearray(2**30)),
    "reject": _reject,
    "defect": _defect,
    "unpicklable": lambda: lambda: None,
    "pid": lambda: str(os.getpid()),
    "dump": lambda: str(resource.getrlimit(resource.RLIMIT_CORE)),
}
