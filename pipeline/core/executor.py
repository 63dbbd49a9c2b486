"""The one seam to more cores and machines: maps a function over shards.

Today in local processes. A cluster would take the same picklable functions and the same items.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

from pipeline.core import processes

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def map_shards(function: Callable[[Item], Result], shards: Iterable[Item]) -> Iterator[Result]:
    """Yield function(shard) in the shards' order, with few of them in memory at a time.

    `function` must be picklable and must run its untrusted work in `images.sandbox` (worker processes may have
    children of their own). A single shard runs in this process.
    """
    todo = list(shards)
    workers = min(cores(), len(todo))
    if workers < 2:
        yield from map(function, todo)
        return
    context, parent = multiprocessing.get_context("spawn"), processes.lifeline()
    with ProcessPoolExecutor(workers, context, initializer=processes.end_with, initargs=(parent,)) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for shard in todo:
                waiting.append(pool.submit(function, shard))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Not future.cancel() on each: leaving the pool then waits for ever, now and then (seen on Python 3.11.2).
            pool.shutdown(cancel_futures=True)


def sandbox_workers(shards: int) -> int:
    """Return how many sandbox workers each of `shards` concurrent shards should use."""
    return max(1, cores() // max(1, min(cores(), shards)))
