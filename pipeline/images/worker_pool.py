"""A pool of worker processes, each of which may die of its task: it is replaced, and other tasks are not affected.

A fork server, which has imported what takes long, starts a worker in some 20 ms. Each worker has a pipe of its own, so
one that is killed at any moment leaves no lock behind, and no half message to others.
"""

import queue
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.errors import UserError
from pipeline.images.worker import Task
from pipeline.images.worker_process import WorkerDiedError, WorkerKind, WorkerProcess

_STARTS = 3  # attempts to start a worker, one after the other


@dataclass(eq=False)
class _Job:
    task: Task
    fresh: bool
    future: "Future[list[Any]]" = field(default_factory=Future)


class Pool:
    """Worker processes, and a thread for each that hands it tasks and replaces it."""

    def __init__(self, size: int, kind: WorkerKind) -> None:
        self._kind = kind
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._busy: dict[_Job, WorkerProcess] = {}
        self._problem: UserError | None = None
        self._last: Task | None = None  # without its items
        self._stopped = False
        self._threads = [threading.Thread(target=self._run_worker, name="worker", daemon=True) for _ in range(size)]
        for thread in self._threads:
            thread.start()

    @property
    def active(self) -> bool:
        """Whether it accepts tasks: it was not stopped, and its workers can be started."""
        return not self._stopped and self._problem is None

    def schedule(self, task: Task, *, fresh: bool = False) -> "Future[list[Any]]":
        """Queue a task; its future returns the outcomes, in order.

        `fresh`: run it in a worker that has run nothing before. Cancelling the future removes the task from the queue,
        or ends the worker that runs it. The future raises WorkerDiedError; UserError if workers cannot be started;
        CancelledError if the pool was stopped; and any exception that is a defect of `task.function`.
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
        """End all workers; tasks in the queue are cancelled."""
        with self._lock:
            self._stopped = True
            busy = list(self._busy.values())
        for one in busy:
            one.kill()
        self._end_threads()
        for thread in self._threads:
            thread.join(5.0)

    def _run_worker(self) -> None:
        """Run tasks in one worker until the pool is stopped; replace the worker when it is lost or exhausted."""
        current = self._start()
        while (job := self._jobs.get()) is not None:
            if current is None or not current.alive or (job.fresh and current.used):
                current = self._start(current)
            self._run_job(job, current)
            if current is not None and not self._stopped and (current.exhausted or not current.alive):
                current = self._start(current)
        if current is not None:
            current.end()

    def _start(self, before: WorkerProcess | None = None) -> WorkerProcess | None:
        """Return another worker, in place of `before`; None if none can be started, which ends the pool."""
        if before is not None:
            before.end()
        problem: Exception | None = None
        for _ in range(_STARTS):
            if not self.active:
                return None
            try:
                return self._warm_up(WorkerProcess(self._kind))
            except (OSError, EOFError, WorkerDiedError) as error:
                problem = error
        self._break(problem)
        return None

    def _warm_up(self, new: WorkerProcess) -> WorkerProcess:
        """Let a new worker import what the last task needed, so that its next task does not wait for the imports."""
        if self._last is not None:
            with suppress(ImportError, AttributeError):  # raised again for the task itself
                new.run_task(self._last)
            new.used = False
        return new

    def _run_job(self, job: _Job, current: WorkerProcess | None) -> None:
        """Run a job; without a worker, fail it with the reason why there is none."""
        if current is None:
            self._refuse(job)
            return
        self._last = job.task._replace(items=())
        with self._lock:
            self._busy[job] = current
        try:
            outcome: list[Any] | BaseException = [] if job.future.cancelled() else current.run_task(job.task)
        except BaseException as error:  # noqa: BLE001 -- raised where the result is read
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
                f"({type(problem).__name__}: {problem}). Their own messages are above. Check the limits of this "
                "session (ulimit -a), TMPDIR, and the free memory; then run this again."
            )
        self._end_threads()

    def _end_threads(self) -> None:
        """Refuse the jobs in the queue, then let each thread end."""
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
