"""Worker processes end with the process that started them, however that one ends."""

import atexit
import fcntl
import multiprocessing
import os
import select
import signal
import sys
import threading
from functools import cache
from multiprocessing.connection import Connection
from typing import NoReturn


def lifeline() -> Connection:
    """Return what `end_with` takes: an argument of a process to be started, or of its pool's initializer."""
    return _pipe(os.getpid())[0]


def end_with(parent: Connection) -> None:
    """Have the kernel end this process (SIGKILL) as soon as the process whose `lifeline` it is has ended.

    The kernel does it, so it also ends a process that is busy in C code and holds the interpreter's lock. Unlike
    PR_SET_PDEATHSIG it does not depend on which thread, or which fork server, started this process.
    """
    # Opened anew: who gets the signal belongs to the open file, which all processes that were sent it would share.
    watched = os.open(f"/proc/self/fd/{parent.fileno()}", os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(watched, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(watched, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(watched, fcntl.F_SETFL, fcntl.fcntl(watched, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([watched], [], [], 0.0)[0]:  # nobody writes to it: it ended before the signal was asked for
        os._exit(1)


def stop_with_stdin(seconds: float) -> None:
    """Once stdin ends, ask this process to stop (SIGTERM); where it has not within `seconds`, end it (SIGALRM).

    For a process whose parent holds the other end of its stdin, and that has something to put in order first.
    """

    def watch() -> None:
        sys.stdin.read()
        signal.setitimer(signal.ITIMER_REAL, seconds)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    threading.Thread(target=watch, name="parent", daemon=True).start()


def leave() -> NoReturn:
    """End this process with exit code 0, without taking the interpreter apart: TensorFlow makes that last seconds."""
    atexit._run_exitfuncs()  # noqa: SLF001 -- temporary folders go; nothing public does that
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@cache
def _pipe(pid: int) -> tuple[Connection, Connection]:  # noqa: ARG001 -- a fork of this process needs its own
    """Return the two ends of a pipe that stays open as long as this process lives."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    return reader, writer
