"""Runs a function on pictures in sandbox workers: of this machine, or chunk by chunk on the cluster's machines."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from pipeline.core import executor
from pipeline.images import sandbox

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 256  # items in a task of the cluster
_CHUNK_BYTES = 64 * 2**20  # bytes in one


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    limits: sandbox.WorkerLimits,
    *,
    weigh: Callable[[Item], int] = lambda _: 0,
) -> Iterator[Result | sandbox.Failure]:
    """Yield, in order, each item's result or its Failure, as `sandbox.run`; `limits.workers` are those of this machine.

    On a cluster too, few items and results are in memory at a time. `weigh` returns the bytes of an item.

    Raises:
        UserError: as `sandbox.run` and `executor.map_shards`.

    """
    if executor.scheduler() is None:
        yield from sandbox.run(function, items, limits, weigh=weigh)
        return
    one_each = replace(limits, workers=1)  # the cluster has a thread for each core
    chunks = (chunk for chunk, _ in sandbox.chunks(items, weigh, _CHUNK, _CHUNK_BYTES))
    for outcomes in executor.map_shards(partial(run_chunk, function, one_each), chunks):
        yield from outcomes


def run_chunk(
    function: Callable[[Item], Result], limits: sandbox.WorkerLimits, chunk: Sequence[Item]
) -> list[Result | sandbox.Failure]:
    """Return the outcomes of one chunk."""
    return list(sandbox.run(function, chunk, limits))
