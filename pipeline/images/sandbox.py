"""Worker processes for untrusted pictures: limits of time and memory each; a bad picture costs itself alone.

Only `Failure.final` outcomes are about the bytes; any other may be another's doing, and must not be remembered.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from multiprocessing.util import Finalize
from typing import TypeVar

from pipeline.images.worker import OUT_OF_MEMORY, Failure, Task, is_final
from pipeline.images.worker_pool import Kind, Pool, WorkerDiedError

__all__ = ["Failure", "Limits", "is_final", "run", "stop", "submit"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 32  # pictures a message: a round trip costs about as much as decoding a small one
_HEAVY = 4 * 2**20  # bytes a message
_HELD = 64 * 2**20
_WALL_FACTOR, _WALL_SECONDS = 10.0, 10.0  # of the clock, to a second of CPU time, and beside it: machines are shared
_NO_FORK_SERVER = 255  # multiprocessing's exit code of a process whose fork server is gone
_one_at_a_time = threading.Lock()  # a server asks from several threads
_pools: dict[tuple[int, Kind, int], Pool] = {}


@dataclass(frozen=True)
class Limits:
    """What one picture may cost its worker, and what workers there are.

    Attributes:
        seconds: of CPU time.
        memory_mb: MiB beyond what an idle worker takes.
        workers: how many at a time.
        wall_seconds: of the clock; None: 10 times `seconds`, and 10 more.
        nice: their nice value; 0 as ours.

    """

    seconds: float
    memory_mb: int
    workers: int = 1
    wall_seconds: float | None = None
    nice: int = 0

    @property
    def wall(self) -> float:
        """Seconds of the clock that a picture may take."""
        return self.wall_seconds or _WALL_FACTOR * self.seconds + _WALL_SECONDS


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    limits: Limits,
    *,
    weigh: Callable[[Item], int] = lambda _: 0,
) -> Iterator[Result | Failure]:
    """Yield, in order, each item's result or the Failure that it met.

    `function` runs in worker processes, so it must be picklable. The workers outlive the call and serve the next.
    `weigh` tells the bytes of an item: of those that wait no more than 64 MiB and one item's are held at a time.
    An item that costs a worker, or runs out of memory, has a second try, alone in a fresh worker.

    Raises:
        UserError: workers cannot be started.

    """
    pool = _sound_pool(limits)
    waiting: deque[tuple[tuple[Item, ...], Future[list[Result | Failure]]]] = deque()
    held = 0

    def schedule(chunk: tuple[Item, ...], *, fresh: bool = False) -> Future[list[Result | Failure]]:
        return pool.schedule(_task(function, chunk, limits), fresh=fresh)

    def collect(chunk: tuple[Item, ...], future: Future[list[Result | Failure]]) -> list[Result | Failure]:
        done = _awaited(future, limits)
        outcomes = [done] * len(chunk) if isinstance(done, Failure) else done
        return [
            alone(item, fresh=len(chunk) == 1 or outcome.code == "memory")
            if isinstance(outcome, Failure) and not outcome.final
            else outcome
            for item, outcome in zip(chunk, outcomes, strict=True)
        ]

    def alone(item: Item, *, fresh: bool) -> Result | Failure:
        done = _awaited(schedule((item,), fresh=fresh), limits)
        outcome = done if isinstance(done, Failure) else done[0]
        if not fresh and isinstance(outcome, Failure) and outcome.code == "memory":
            return alone(item, fresh=True)  # what came before may have left its worker's memory in pieces
        return outcome

    def first() -> tuple[int, list[Result | Failure]]:
        chunk, future = waiting.popleft()
        return sum(map(weigh, chunk)), collect(chunk, future)

    for chunk, weight in _chunks(items, weigh):
        waiting.append((chunk, schedule(chunk)))
        held += weight
        while len(waiting) > 4 * limits.workers or (held > _HELD and len(waiting) > 1):
            done, outcomes = first()
            held -= done
            yield from outcomes
    while waiting:
        yield from first()[1]


def _task(function: Callable[[Item], Result], items: tuple[Item, ...], limits: Limits) -> Task:
    return Task(function, items, limits.seconds, limits.wall)


def _awaited(future: Future[list[Result | Failure]], limits: Limits) -> list[Result | Failure] | Failure:
    try:
        return future.result()
    except WorkerDiedError as death:
        return _why(death.exitcode, limits)
    except CancelledError:
        return Failure("unavailable", "its worker was stopped")


def _why(exitcode: int | None, limits: Limits) -> Failure:
    """Tell what a worker died of: a decoder's own defect is a crash, SIGKILL comes from outside."""
    if exitcode in {-signal.SIGPROF, -signal.SIGXCPU}:
        return Failure("timeout", f"not done within {limits.seconds:g} s of CPU time")
    if exitcode == -signal.SIGALRM:
        return Failure("unavailable", f"not done within {limits.wall:g} s, though its CPU time was not used up")
    if exitcode == OUT_OF_MEMORY:
        return Failure("memory", "needs more memory than a picture may use")
    if exitcode in {None, _NO_FORK_SERVER, -signal.SIGKILL, -signal.SIGTERM}:
        return Failure("unavailable", "its worker was killed from outside")
    return Failure("crashed", f"its worker died (exit code {exitcode})")


def _chunks(items: Iterable[Item], weigh: Callable[[Item], int]) -> Iterator[tuple[tuple[Item, ...], int]]:
    """Yield up to 32 items, or 4 MiB of them, and their weight."""
    chunk: list[Item] = []
    weight = 0
    for item in items:
        chunk.append(item)
        weight += weigh(item)
        if len(chunk) == _CHUNK or weight >= _HEAVY:
            yield tuple(chunk), weight
            chunk, weight = [], 0
    if chunk:
        yield tuple(chunk), weight


def submit(
    function: Callable[[Item], Result], item: Item, limits: Limits, *, fresh: bool = False
) -> "Future[Result | Failure]":
    """Begin one item at once; the future's result is the item's, or the Failure that it met. It has one try.

    The same workers as `run`'s; `fresh`: one that has opened nothing yet. Cancelling the future takes the item out of
    the queue, or its worker off it.
    """
    inner = _sound_pool(limits).schedule(_task(function, (item,), limits), fresh=fresh)
    outer: Future[Result | Failure] = Future()

    def finished(done: "Future[list[Result | Failure]]") -> None:
        if not outer.set_running_or_notify_cancel():
            return
        try:
            outcomes = _awaited(done, limits)
            outer.set_result(outcomes if isinstance(outcomes, Failure) else outcomes[0])
        except BaseException as defect:  # noqa: BLE001 -- raised where the result is asked for
            outer.set_exception(defect)

    inner.add_done_callback(finished)
    outer.add_done_callback(lambda done: inner.cancel() if done.cancelled() else None)
    return outer


def stop() -> None:
    """End all workers now, as the end of this process would."""
    with _one_at_a_time:
        while _pools:
            _pools.popitem()[1].stop()


def _sound_pool(limits: Limits) -> Pool:
    """Return the pool that earlier calls used, or a new one if that has broken down since."""
    kind = Kind(limits.memory_mb, limits.nice)
    key = limits.workers, kind, os.getpid()  # a fork of this process needs its own
    with _one_at_a_time:
        pool = _pools.get(key)
        if pool is None or not pool.active:
            pool = _pools[key] = Pool(limits.workers, kind)
            Finalize(pool, pool.stop, exitpriority=100)
        return pool
