"""One worker process, seen from its parent: started by a fork server, given tasks over its own pipe, ended by force."""

import multiprocessing
import threading
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any, NamedTuple

from pipeline.core import processes
from pipeline.images import worker
from pipeline.images.worker import Failure, Task

_PLUGINS = ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm", "WebP")  # else their imports count for the first picture
# No module of this package: a registered model brings its own version of it.
# typer: each worker imports the main module again, which is `nsfw`.
_PRELOADED = ["typer", "numpy", "PIL.Image", *(f"PIL.{name}ImagePlugin" for name in _PLUGINS)]
_START_SECONDS = 300.0  # of the clock, on a machine that is busy with other work
_END_SECONDS = 5.0  # after SIGKILL
_SPARE_SECONDS = 60.0  # of the clock; beyond that and its own limits, a worker was stopped or hangs in the kernel
_processes = threading.Lock()  # multiprocessing loses an exit code that two threads read at the same time


class WorkerDiedError(Exception):
    """A worker ended before it answered; `exitcode` is negative where it was a signal."""

    def __init__(self, exitcode: int | None) -> None:
        super().__init__(f"exit code {exitcode}")
        self.exitcode = exitcode


class WorkerKind(NamedTuple):
    """The limits that all workers of a pool share: MiB that each may use beyond an idle one's, and their nice value."""

    memory_mb: int
    nice: int = 0


class WorkerProcess:
    """One worker process, seen from its parent."""

    def __init__(self, kind: WorkerKind) -> None:
        """Start it, and wait until it is ready.

        Raises:
            WorkerDiedError, OSError, EOFError: it ended before that.

        """
        context = multiprocessing.get_context("forkserver")  # a fork would inherit TensorFlow's threads and locks
        context.set_forkserver_preload(_PRELOADED)
        self._connection, theirs = context.Pipe()
        arguments = (theirs, processes.parent_pipe(), *kind)
        self._process = context.Process(target=worker.work, args=arguments, name="picture-worker", daemon=True)
        with _processes:
            self._process.start()
        theirs.close()
        self.used = self.exhausted = self._ended = False
        self._receive(_START_SECONDS)

    @property
    def alive(self) -> bool:
        """Whether it has not ended; checked before each task, so that one killed while idle gets no task."""
        # The sentinel alone is not enough: the fork server closes it a moment after it has reported the exit code.
        # Without the lock, because another worker may hold it for a while, during its start.
        return not self._ended and not wait([self._process.sentinel], 0.0)

    def run_task(self, task: Task) -> list[Any]:
        """Return a task's outcomes.

        Raises:
            WorkerDiedError: it died.
            Exception: a defect in our own code, as the worker raised it.

        """
        self.used = True
        try:
            self._connection.send(task)
        except (BrokenPipeError, ConnectionResetError):
            death = self._death()
            # It never received the whole task: unless it died of the task's size, the task is not the cause.
            raise (death if death.exitcode == worker.OUT_OF_MEMORY else WorkerDiedError(None)) from None
        answer: list[Any] | BaseException = self._receive(task.wall_seconds * len(task.items) + _SPARE_SECONDS)
        if isinstance(answer, BaseException):
            raise answer
        # Its memory may be fragmented now, so it must not get another picture.
        self.exhausted = any(isinstance(outcome, Failure) and outcome.code == "memory" for outcome in answer)
        return answer

    def _receive(self, seconds: float) -> Any:
        try:
            if not self._connection.poll(seconds):
                self.kill()
            return self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._death() from None

    def _death(self) -> WorkerDiedError:
        self._ended = True
        self._wait()
        return WorkerDiedError(self._process.exitcode)

    def kill(self) -> None:
        """End it now; a caller that waits for its answer gets a WorkerDiedError."""
        with suppress(ProcessLookupError):
            self._process.kill()

    def end(self) -> None:
        """End it, and free its resources in this process."""
        self._connection.close()
        self.kill()
        self._wait()

    def _wait(self) -> None:
        wait([self._process.sentinel], _END_SECONDS)
        with _processes:
            self._process.join(0.0)
