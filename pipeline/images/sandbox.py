"""Worker processes for untrusted pictures: a limit of time and memory each; a bad picture costs itself alone."""

import multiprocessing
import os
import resource
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.util import Finalize
from pathlib import Path
from typing import TypeVar

from pebble import ProcessExpired, ProcessPool

from pipeline.images.decode import Rejected

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 32  # pictures a message: a round trip costs about as much as decoding a small one
_HEAVY = 4 * 2**20  # bytes a message: large pictures share their time limit with few others
_HELD = 64 * 2**20
_one_at_a_time = threading.Lock()  # a server asks from several threads


@dataclass(frozen=True)
class Limits:
    """What one picture may cost: seconds, and MiB beyond what an idle worker takes; and how many at a time."""

    seconds: float
    memory_mb: int
    workers: int = 1


@dataclass(frozen=True)
class Failure:
    """Why an item has no result; `code` is one of decode.Rejected's, or `timeout`, `memory`, `crashed`."""

    code: str
    detail: str

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


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
    """
    pool = _sound_pool(limits.workers, limits.memory_mb)
    waiting: deque[tuple[tuple[Item, ...], Future[list[Result | Failure]]]] = deque()
    held = 0

    def schedule(chunk: tuple[Item, ...]) -> Future[list[Result | Failure]]:
        future: Future[list[Result | Failure]] = pool.schedule(_apply, args=[function, chunk], timeout=limits.seconds)
        return future

    def collect(chunk: tuple[Item, ...], future: Future[list[Result | Failure]]) -> list[Result | Failure]:
        done = _awaited(future, limits.seconds)
        if not isinstance(done, Failure):
            return done
        if len(chunk) == 1:
            return [done]
        # One picture spoiled the chunk: each gets a worker's whole attention, and the guilty one fails alone.
        return [outcome for item in chunk for outcome in collect((item,), schedule((item,)))]

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


def _awaited(future: Future[list[Result | Failure]], seconds: float) -> list[Result | Failure] | Failure:
    try:
        return future.result()
    except FutureTimeoutError:
        return Failure("timeout", f"not done within {seconds:g} s")
    except ProcessExpired as expired:
        return Failure("crashed", f"its worker died (exit code {expired.exitcode})")


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


def submit(function: Callable[[Item], Result], item: Item, limits: Limits) -> "Future[Result | Failure]":
    """Begin one item at once; the future's result is the item's, or the Failure that it met.

    The same workers as `run`'s. Cancelling the future takes the item out of the queue, or its worker off it.
    """
    try:
        inner = _sound_pool(limits.workers, limits.memory_mb).schedule(
            _apply, args=[function, (item,)], timeout=limits.seconds
        )
    except RuntimeError:  # it broke down between the look and the call
        _pool.cache_clear()
        inner = _pool(limits.workers, limits.memory_mb).schedule(
            _apply, args=[function, (item,)], timeout=limits.seconds
        )
    outer: Future[Result | Failure] = Future()

    def finished(done: "Future[list[Result | Failure]]") -> None:
        if not outer.set_running_or_notify_cancel():
            return
        try:
            outcomes = _awaited(done, limits.seconds)
            outer.set_result(outcomes if isinstance(outcomes, Failure) else outcomes[0])
        except CancelledError:
            outer.set_result(Failure("crashed", "its worker was stopped"))
        except BaseException as defect:  # noqa: BLE001 -- raised where the result is asked for
            outer.set_exception(defect)

    inner.add_done_callback(finished)
    outer.add_done_callback(lambda done: inner.cancel() if done.cancelled() else None)
    return outer


def _sound_pool(workers: int, memory_mb: int) -> ProcessPool:
    """Return the pool that earlier calls used, or a new one if that has broken down since (its workers were killed)."""
    with _one_at_a_time:
        pool = _pool(workers, memory_mb)
        if not pool.active:
            _pool.cache_clear()
            pool = _pool(workers, memory_mb)
        return pool


@lru_cache
def _pool(workers: int, memory_mb: int) -> ProcessPool:
    context = multiprocessing.get_context("spawn")  # a fork would inherit TensorFlow's threads and locks
    pool = ProcessPool(max_workers=workers, initializer=_limit, initargs=[memory_mb], context=context)
    Finalize(pool, _stop, args=[pool], exitpriority=100)
    return pool


def _stop(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()


def _apply(function: Callable[[Item], Result], items: tuple[Item, ...]) -> list[Result | Failure]:
    outcomes: list[Result | Failure] = []
    for item in items:
        try:
            outcomes.append(function(item))
        except Rejected as rejected:
            outcomes.append(Failure(rejected.code, rejected.detail))
        except MemoryError:
            outcomes.append(Failure("memory", "needs more memory than a picture may use"))
    return outcomes


def _limit(memory_mb: int) -> None:
    """Let this process grow by `memory_mb` beyond what its imports took, and leave no core file."""
    base = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limit = base + memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
