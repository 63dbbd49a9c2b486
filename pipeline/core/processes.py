"""Worker processes end with the process that started them, even if that one is killed."""

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


def parent_pipe() -> Connection:
    """Return the pipe that `end_with_parent` watches: an argument for a new process, or for a pool's initializer."""
    return _pipe(os.getpid())[0]


def end_with_parent(parent: Connection) -> None:
    """Have the kernel kill this process (SIGKILL) as soon as the process that created `parent_pipe()` has ended.

    The kernel does it, so it also ends a process that is busy in C code and holds the interpreter's lock. Unlike
    PR_SET_PDEATHSIG it does not depend on which thread, or which fork server, started this process.
    """
    # Opened again, because the receiver of the signal is a property of the open file, which the processes would share.
    watched = os.open(f"/proc/self/fd/{parent.fileno()}", os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(watched, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(watched, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(watched, fcntl.F_SETFL, fcntl.fcntl(watched, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([watched], [], [], 0.0)[0]:  # at its end, since nobody writes to it: the parent had ended before
        os._exit(1)


def stop_with_stdin(seconds: float) -> None:
    """When stdin ends, ask this process to stop (SIGTERM); if it has not stopped after `seconds`, kill it (SIGALRM).

    For a process whose parent holds the other end of its stdin, and which has to save its state before it ends.
    """

    def watch() -> None:
        sys.stdin.read()
        signal.setitimer(signal.ITIMER_REAL, seconds)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    threading.Thread(target=watch, name="parent", daemon=True).start()


def exit_now() -> NoReturn:
    """End this process with exit code 0, without finalizing the interpreter, which takes seconds with TensorFlow."""
    atexit._run_exitfuncs()  # noqa: SLF001 -- removes temporary folders; there is no public function
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@cache
def _pipe(pid: int) -> tuple[Connection, Connection]:  # noqa: ARG001 -- the cache's key: a fork needs a pipe of its own
    """Return the two ends of a pipe that stays open as long as this process lives."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    return reader, writer
