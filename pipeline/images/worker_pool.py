"""A pool of worker processes, each of which may die of its task: it is replaced, and nobody else notices.

A fork server, which has imported what takes long, starts a worker in some 20 ms. Each worker has a pipe of its own, so
that one which is killed at any moment leaves no lock behind and no half message to others.
"""

import multiprocessing
import queue
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any, NamedTuple

from pipeline.core import processes
from pipeline.core.errors import UserError
from pipeline.images import worker
from pipeline.images.worker import Failure, Task

_PLUGINS = ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm", "WebP")  # else the first picture pays for their imports
# Nothing of ours: a registered model brings its own version of this package.
# typer: each worker imports the main module anew, which is `nsfw`.
_PRELOADED = ["typer", "numpy", "PIL.Image", *(f"PIL.{name}ImagePlugin" for name in _PLUGINS)]
_STARTS = 3  # attempts in a row
_START_SECONDS = 300.0  # of the clock, on a machine with much else to do
_END_SECONDS = 5.0  # after SIGKILL
_SPARE_SECONDS = 60.0  # of the clock; past a worker's own limits and its imports, it was stopped or hangs in the kernel
_processes = threading.Lock()  # multiprocessing loses an exit code that two threads ask for at a time


class WorkerDiedError(Exception):
    """A worker ended before it answered; `exitcode` is negative where it was a signal."""

    def __init__(self, exitcode: int | None) -> None:
        super().__init__(f"exit code {exitcode}")
        self.exitcode = exitcode


class Kind(NamedTuple):
    """What a pool's workers are: MiB that each may use beyond those of an idle one, and their nice value."""

    memory_mb: int
    nice: int = 0


@dataclass(eq=False)
class _Job:
    task: Task
    fresh: bool
    future: "Future[list[Any]]" = field(default_factory=Future)


class _Worker:
    """One worker process, seen from its parent."""

    def __init__(self, kind: Kind) -> None:
        """Start it, and wait until it is ready.

        Raises:
            WorkerDiedError, OSError, EOFError: it did not get so far.

        """
        context = multiprocessing.get_context("forkserver")  # a fork would inherit TensorFlow's threads and locks
        context.set_forkserver_preload(_PRELOADED)
        self._connection, theirs = context.Pipe()
        arguments = (theirs, processes.lifeline(), *kind)
        self._process = context.Process(target=worker.work, args=arguments, name="picture-worker", daemon=True)
        with _processes:
            self._process.start()
        theirs.close()
        self.used = self.spent = self._ended = False
        self._receive(_START_SECONDS)

    @property
    def alive(self) -> bool:
        """Whether it has not ended; asked before each task, so one that was killed while idle costs nobody."""
        # The sentinel alone is not enough: the fork server closes it a moment after it has told the exit code. Without
        # the lock: another may be starting for a while.
        return not self._ended and not wait([self._process.sentinel], 0.0)

    def ask(self, task: Task) -> list[Any]:
        """Return a task's outcomes.

        Raises:
            WorkerDiedError: it died.
            Exception: a defect of ours, as the worker met it.

        """
        self.used = True
        try:
            self._connection.send(task)
        except (BrokenPipeError, ConnectionResetError):
            death = self._death()
            # It never had the whole task: unless it died of the task's size, that is not the task's doing.
            raise (death if death.exitcode == worker.OUT_OF_MEMORY else WorkerDiedError(None)) from None
        answer: list[Any] | BaseException = self._receive(task.wall_seconds * len(task.items) + _SPARE_SECONDS)
        if isinstance(answer, BaseException):
            raise answer
        # Its memory may be in pieces now: no other picture shall suffer from that.
        self.spent = any(isinstance(outcome, Failure) and outcome.code == "memory" for outcome in answer)
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
        """End it now; whoever waits for its answer gets a WorkerDiedError."""
        with suppress(ProcessLookupError):
            self._process.kill()

    def end(self) -> None:
        """End it, and free what it took here."""
        self._connection.close()
        self.kill()
        self._wait()

    def _wait(self) -> None:
        wait([self._process.sentinel], _END_SECONDS)
        with _processes:
            self._process.join(0.0)


class Pool:
    """Worker processes, and a thread for each that hands it tasks and replaces it."""

    def __init__(self, size: int, kind: Kind) -> None:
        self._kind = kind
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._busy: dict[_Job, _Worker] = {}
        self._problem: UserError | None = None
        self._last: Task | None = None  # without its items
        self._stopped = False
        self._threads = [threading.Thread(target=self._keep, name="worker", daemon=True) for _ in range(size)]
        for thread in self._threads:
            thread.start()

    @property
    def active(self) -> bool:
        """Whether tasks are taken: it was not stopped, and its workers can be started."""
        return not self._stopped and self._problem is None

    def schedule(self, task: Task, *, fresh: bool = False) -> "Future[list[Any]]":
        """Queue a task; its future has the outcomes, in order.

        `fresh`: for a worker that has done nothing before. Cancelling the future takes the task out of the queue, or
        its worker off it. It raises WorkerDiedError; UserError where workers cannot be started; CancelledError where
        the pool was stopped; and what `task.function` should not have raised.
        """
        job = _Job(task, fresh)
        job.future.add_done_callback(lambda done: self._abandon(job) if done.cancelled() else None)
        with self._lock:
            if self._problem is None and not self._stopped:
                self._jobs.put(job)
                return job.future
        self._refuse(job)
        return job.future

    def stop(self) -> None:
        """End all workers; what waits is cancelled."""
        with self._lock:
            self._stopped = True
            busy = list(self._busy.values())
        for one in busy:
            one.kill()
        self._end_threads()
        for thread in self._threads:
            thread.join(5.0)

    def _keep(self) -> None:
        """Have one worker, another where it is lost, and hand it tasks, until the pool is stopped."""
        current = self._start()
        while (job := self._jobs.get()) is not None:
            if current is None or not current.alive or (job.fresh and current.used):
                current = self._start(current)
            self._do(job, current)
            if current is not None and not self._stopped and (current.spent or not current.alive):
                current = self._start(current)
        if current is not None:
            current.end()

    def _start(self, before: _Worker | None = None) -> _Worker | None:
        """Return another worker; None where none can be started, which is the end of the pool."""
        if before is not None:
            before.end()
        problem: Exception | None = None
        for _ in range(_STARTS):
            if not self.active:
                return None
            try:
                return self._warm(_Worker(self._kind))
            except (OSError, EOFError, WorkerDiedError) as error:
                problem = error
        self._break(problem)
        return None

    def _warm(self, new: _Worker) -> _Worker:
        """Have a new worker import what the last task needed, so that its next one does not wait for that."""
        if self._last is not None:
            with suppress(ImportError, AttributeError):  # whose task it is gets to see it
                new.ask(self._last)
            new.used = False
        return new

    def _do(self, job: _Job, current: _Worker | None) -> None:
        """Have a job done; without a worker, say why there is none."""
        if current is None:
            self._refuse(job)
            return
        self._last = job.task._replace(items=())
        with self._lock:
            self._busy[job] = current
        try:
            outcome: list[Any] | BaseException = [] if job.future.cancelled() else current.ask(job.task)
        except BaseException as error:  # noqa: BLE001 -- raised where the result is asked for
            outcome = error
        with self._lock:
            del self._busy[job]
        if not job.future.set_running_or_notify_cancel():
            return
        if isinstance(outcome, BaseException):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)

    def _abandon(self, job: _Job) -> None:
        with self._lock:
            if (busy := self._busy.get(job)) is not None:
                busy.kill()

    def _break(self, problem: Exception | None) -> None:
        with self._lock:
            self._problem = self._problem or UserError(
                f"the worker processes that open files cannot be started: {_STARTS} in a row ended at once "
                f"({type(problem).__name__}: {problem}). What they say themselves stands above. Look at the limits of "
                "this session (ulimit -a), at TMPDIR, and at the memory that is left; then run this again."
            )
        self._end_threads()

    def _end_threads(self) -> None:
        """Refuse what waits, then tell each thread to end."""
        with suppress(queue.Empty):
            while True:
                if (job := self._jobs.get_nowait()) is not None:
                    self._refuse(job)
        for _ in self._threads:
            self._jobs.put(None)

    def _refuse(self, job: _Job) -> None:
        if self._problem is None:
            job.future.cancel()
        elif job.future.set_running_or_notify_cancel():
            job.future.set_exception(self._problem)
