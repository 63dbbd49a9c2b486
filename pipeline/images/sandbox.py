"""Worker processes for untrusted pictures: each has limits of time and memory; a bad picture affects no other one.

Only `Failure.final` outcomes depend on the bytes; any other may have an outside cause, and must not be cached.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from multiprocessing.util import Finalize
from typing import Generic, TypeVar

from pipeline.images.worker import OUT_OF_MEMORY, Failure, Task, is_final
from pipeline.images.worker_pool import Pool
from pipeline.images.worker_process import WorkerDiedError, WorkerKind

__all__ = ["Failure", "WorkerLimits", "is_final", "run", "stop", "submit"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 32  # pictures in a message: a round trip costs about as much as decoding a small one
_CHUNK_BYTES = 4 * 2**20  # bytes a message
_MAX_PENDING_BYTES = 64 * 2**20
_WALL_FACTOR, _WALL_SECONDS = 10.0, 10.0  # clock time is 10 times the CPU time plus 10 s: machines are shared
_NO_FORK_SERVER = 255  # multiprocessing's exit code of a process whose fork server has ended
_pools_lock = threading.Lock()  # a server calls from several threads
_pools: dict[tuple[int, WorkerKind, int], Pool] = {}


@dataclass(frozen=True)
class WorkerLimits:
    """The limits of one picture in a worker, and the number and priority of the workers.

    Attributes:
        seconds: CPU time for one picture.
        memory_mb: MiB beyond those of an idle worker.
        workers: how many workers run at a time.
        wall_seconds: clock time for one picture, in seconds; None: 10 times `seconds`, plus 10.
        nice: the workers' nice value; 0 is that of this process.

    """

    seconds: float
    memory_mb: int
    workers: int = 1
    wall_seconds: float | None = None
    nice: int = 0

    @property
    def wall(self) -> float:
        """Seconds of the clock that one picture may take."""
        return self.wall_seconds or _WALL_FACTOR * self.seconds + _WALL_SECONDS


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    limits: WorkerLimits,
    *,
    weigh: Callable[[Item], int] = lambda _: 0,
) -> Iterator[Result | Failure]:
    """Yield, in order, each item's result or its Failure.

    `function` runs in worker processes, so it must be picklable. The workers stay for the next call.
    `weigh` returns the bytes of an item: at most 64 MiB, and one item more, are pending at a time.
    An item whose worker dies, or that runs out of memory, is tried a second time, alone in a fresh worker.

    Raises:
        UserError: workers cannot be started.

    """
    tries = _Tries(function, limits, _sound_pool(limits))
    pending: deque[tuple[tuple[Item, ...], Future[list[Result | Failure]]]] = deque()
    pending_bytes = 0
    for chunk, weight in chunks(items, weigh, _CHUNK, _CHUNK_BYTES):
        pending.append((chunk, tries.schedule(chunk)))
        pending_bytes += weight
        while len(pending) > 4 * limits.workers or (pending_bytes > _MAX_PENDING_BYTES and len(pending) > 1):
            first, future = pending.popleft()
            outcomes = tries.collect(first, future)
            pending_bytes -= sum(map(weigh, first))
            yield from outcomes
    while pending:
        yield from tries.collect(*pending.popleft())


@dataclass(frozen=True)
class _Tries(Generic[Item, Result]):
    """Runs `function` on chunks of items in the workers of a pool; items that may be innocent get a second try."""

    function: Callable[[Item], Result]
    limits: WorkerLimits
    pool: Pool

    def schedule(self, chunk: tuple[Item, ...], *, fresh: bool = False) -> Future[list[Result | Failure]]:
        return self.pool.schedule(_task(self.function, chunk, self.limits), fresh=fresh)

    def collect(self, chunk: tuple[Item, ...], future: Future[list[Result | Failure]]) -> list[Result | Failure]:
        """Wait for a chunk, and return its outcomes after the second tries."""
        done = _result_of(future, self.limits)
        # A worker that dies takes its whole chunk with it: each item is tried again to see which one was the cause.
        outcomes = [done] * len(chunk) if isinstance(done, Failure) else done
        return [
            self._retry(item, fresh=len(chunk) == 1 or outcome.code == "memory")
            if isinstance(outcome, Failure) and not outcome.final
            else outcome
            for item, outcome in zip(chunk, outcomes, strict=True)
        ]

    def _retry(self, item: Item, *, fresh: bool) -> Result | Failure:
        done = _result_of(self.schedule((item,), fresh=fresh), self.limits)
        outcome = done if isinstance(done, Failure) else done[0]
        if not fresh and isinstance(outcome, Failure) and outcome.code in {"memory", "unavailable"}:
            # Earlier items may have fragmented its worker's memory; what kills workers from outside kills several.
            return self._retry(item, fresh=True)
        return outcome


def _task(function: Callable[[Item], Result], items: tuple[Item, ...], limits: WorkerLimits) -> Task:
    return Task(function, items, limits.seconds, limits.wall)


def _result_of(future: Future[list[Result | Failure]], limits: WorkerLimits) -> list[Result | Failure] | Failure:
    try:
        return future.result()
    except WorkerDiedError as death:
        return _death_failure(death.exitcode, limits)
    except CancelledError:
        return Failure("unavailable", "its worker was stopped")


def _death_failure(exitcode: int | None, limits: WorkerLimits) -> Failure:
    """Return the Failure for a worker's exit code: a decoder's own defect is a crash, SIGKILL comes from outside."""
    if exitcode in {-signal.SIGPROF, -signal.SIGXCPU}:
        return Failure("timeout", f"not done within {limits.seconds:g} s of CPU time")
    if exitcode == -signal.SIGALRM:
        return Failure("unavailable", f"not done within {limits.wall:g} s, though its CPU time was not used up")
    if exitcode == OUT_OF_MEMORY:
        return Failure("memory", "needs more memory than a picture may use")
    if exitcode in {None, _NO_FORK_SERVER, -signal.SIGKILL, -signal.SIGTERM}:
        return Failure("unavailable", "its worker was killed from outside")
    return Failure("crashed", f"its worker died (exit code {exitcode})")


def chunks(
    items: Iterable[Item], weigh: Callable[[Item], int], count: int, size: int
) -> Iterator[tuple[tuple[Item, ...], int]]:
    """Yield chunks of up to `count` items or about `size` bytes, and the bytes of each chunk."""
    chunk: list[Item] = []
    weight = 0
    for item in items:
        chunk.append(item)
        weight += weigh(item)
        if len(chunk) == count or weight >= size:
            yield tuple(chunk), weight
            chunk, weight = [], 0
    if chunk:
        yield tuple(chunk), weight


def submit(
    function: Callable[[Item], Result], item: Item, limits: WorkerLimits, *, fresh: bool = False
) -> "Future[Result | Failure]":
    """Start one item at once, with one try; the future returns the item's result or its Failure.

    It uses the same workers as `run`; `fresh`: one that has opened nothing yet. Cancelling the future removes the item
    from the queue, or ends the worker that runs it.
    """
    inner = _sound_pool(limits).schedule(_task(function, (item,), limits), fresh=fresh)
    outer: Future[Result | Failure] = Future()

    def finished(done: "Future[list[Result | Failure]]") -> None:
        if not outer.set_running_or_notify_cancel():
            return
        try:
            outcomes = _result_of(done, limits)
            outer.set_result(outcomes if isinstance(outcomes, Failure) else outcomes[0])
        except BaseException as defect:  # noqa: BLE001 -- raised where the result is read
            outer.set_exception(defect)

    inner.add_done_callback(finished)
    outer.add_done_callback(lambda done: inner.cancel() if done.cancelled() else None)
    return outer


def stop() -> None:
    """End all workers now, as the end of this process would."""
    with _pools_lock:
        while _pools:
            _pools.popitem()[1].stop()


def _sound_pool(limits: WorkerLimits) -> Pool:
    """Return the pool that earlier calls used, or a new one if that was stopped or cannot start workers."""
    kind = WorkerKind(limits.memory_mb, limits.nice)
    key = limits.workers, kind, os.getpid()  # a fork of this process needs its own
    with _pools_lock:
        pool = _pools.get(key)
        if pool is None or not pool.active:
            pool = _pools[key] = Pool(limits.workers, kind)
            Finalize(pool, pool.stop, exitpriority=100)
        return pool
