"""Maps a function over shards, on all cores of this machine.

Running on a cluster would mean to replace this module: functions and items are picklable already.
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
    """Yield function(shard) in the order of the shards, with few results in memory at a time.

    `function` must be picklable and must run its untrusted work in `images.sandbox` (worker processes may have
    children of their own). A single shard runs in this process.
    """
    items = list(shards)
    workers = min(cores(), len(items))
    if workers < 2:
        yield from map(function, items)
        return
    context, parent = multiprocessing.get_context("spawn"), processes.parent_pipe()
    with ProcessPoolExecutor(workers, context, initializer=processes.end_with_parent, initargs=(parent,)) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for shard in items:
                waiting.append(pool.submit(function, shard))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Cancelling each future instead sometimes makes leaving the pool wait forever (seen on Python 3.11.2).
            pool.shutdown(cancel_futures=True)


def sandbox_workers(shards: int) -> int:
    """Return how many sandbox workers each of `shards` concurrent shards should use."""
    return max(1, cores() // max(1, min(cores(), shards)))
