"""Maps a function over shards: on all cores of this machine, or on a Dask cluster.

The cluster is the one of `compute.scheduler` in params.yaml, or of DASK_SCHEDULER_ADDRESS. Functions and items are
picklable, and paths in them relative to the project's folder or absolute.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from typing import TypeVar

from pipeline.core import cluster, processes

Item = TypeVar("Item")
Result = TypeVar("Result")


SCHEDULER = "DASK_SCHEDULER_ADDRESS"


def use(scheduler: str | None) -> None:
    """Have this process, and those that it starts, use a cluster, unless the environment names another one."""
    if scheduler is not None and not os.environ.get(SCHEDULER):
        os.environ[SCHEDULER] = scheduler


def scheduler() -> str | None:
    """Return the address of the cluster's scheduler; None: this machine alone."""
    return os.environ.get(SCHEDULER) or None


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def map_shards(function: Callable[[Item], Result], shards: Iterable[Item]) -> Iterator[Result]:
    """Yield function(shard) in the order of the shards, with few results in memory at a time.

    `function` must be picklable and must run its untrusted work in `images.sandbox` (worker processes may have
    children of their own). A single shard runs in this process, unless there is a cluster, which takes the shards as
    they come.

    Raises:
        UserError: as `cluster.map_items`.

    """
    if (address := scheduler()) is not None:
        remaining = iter(shards)
        if first := list(islice(remaining, 1)):  # without shards it does not connect
            yield from cluster.map_items(address, function, chain(first, remaining))
        return
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
    """Return how many sandbox workers each of `shards` concurrent shards should use; on a cluster, one a thread."""
    if scheduler() is not None:
        return 1
    return max(1, cores() // max(1, min(cores(), shards)))
