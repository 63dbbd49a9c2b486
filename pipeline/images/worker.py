"""The code of a worker process: its limits, and the loop that applies functions to untrusted pictures."""

import math
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core import processes
from pipeline.images.limits import Rejected

OUT_OF_MEMORY = 113  # exit code of a worker that had no memory to receive its task, or to send its answer
_SPARE_SECONDS = 120  # CPU time for a task's imports; a second safeguard beyond the limit of each picture
_CODES_OF_THE_WORKER = frozenset({"timeout", "memory", "crashed", "unavailable"})


@dataclass(frozen=True)
class Failure:
    """Why an item has no result.

    Attributes:
        code: one of limits.Rejected's; or `timeout` (CPU time), `memory`, `crashed` (its worker died of it), or
            `unavailable` (because of the machine: its worker was killed from outside, or got no CPU time).
        detail: text for people.

    """

    code: str
    detail: str

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    @property
    def final(self) -> bool:
        """Whether it depends on the bytes alone; any other may have an outside cause, and must not be cached."""
        return self.code not in _CODES_OF_THE_WORKER


def is_final(problem: str) -> bool:
    """Return whether a `code: detail` is about the bytes ("" too: they are usable), and not about a worker."""
    return Failure(problem.partition(":")[0], problem).final


class Task(NamedTuple):
    """Apply `function` to each item; seconds of CPU time, and of the clock, that each item may take."""

    function: Callable[[Any], Any]
    items: tuple[Any, ...]
    seconds: float
    wall_seconds: float


def work(connection: Connection, parent: Connection, memory_mb: int, nice: int) -> None:
    """Answer each task of `connection` with a list of outcomes, or with our own defect, until it is closed."""
    processes.end_with_parent(parent)
    import_module("pipeline.images.loading")  # everything that opens pictures: the memory limit counts from here
    _restrict(memory_mb, nice)
    connection.send(None)  # ready
    while True:
        try:
            answer = _answer(connection)
            if answer is None:
                return
            _send(connection, answer)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)


def _answer(connection: Connection) -> list[Any] | BaseException | None:
    """Return the outcomes of the next task, or our own defect; None if there are no more tasks."""
    _limit_cpu(_SPARE_SECONDS)
    try:
        task = connection.recv()  # imports what the function needs
    except EOFError:
        return None
    except Exception as error:  # noqa: BLE001 -- a defect in our own code, raised in the parent
        return _with_traceback(error)
    _limit_cpu(_SPARE_SECONDS + task.seconds * len(task.items))
    try:
        with _timers():
            return [_outcome(task, item) for item in task.items]
    except Exception as error:  # noqa: BLE001 -- as above
        return _with_traceback(error)


def _outcome(task: Task, item: Any) -> Any:
    # The default action of these signals ends the process, even while it is stuck in C code.
    signal.setitimer(signal.ITIMER_PROF, task.seconds)
    signal.setitimer(signal.ITIMER_REAL, task.wall_seconds)
    try:
        return task.function(item)
    except Rejected as rejected:
        return Failure(rejected.code, rejected.detail)
    except MemoryError:
        return Failure("memory", "needs more memory than a picture may use")


def _send(connection: Connection, answer: list[Any] | BaseException) -> None:
    try:
        connection.send(answer)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 -- an answer that cannot be pickled is a defect in our own code
        connection.send(RuntimeError(f"an answer cannot be sent ({type(error).__name__}: {error})"))


def _with_traceback(error: Exception) -> Exception:
    """Return the error with its traceback as a note, because pickling loses the traceback."""
    if isinstance(error, MemoryError):
        raise error
    error.add_note("In a worker process:\n" + "".join(traceback.format_exception(error)))
    return error


@contextmanager
def _timers() -> Iterator[None]:
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def _limit_cpu(seconds: float) -> None:
    """Let this process use `seconds` more of CPU time before SIGXCPU ends it."""
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(time.process_time() + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if most == resource.RLIM_INFINITY else min(soft, most), most))


def _restrict(memory_mb: int, nice: int) -> None:
    """Limit this process to `memory_mb` beyond its imports, without core files, and let its timers end it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    ending = (signal.SIGPROF, signal.SIGALRM, signal.SIGXCPU, signal.SIGTERM)
    for number in ending:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)
    os.nice(nice)
    base = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limit = base + memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
