"""Runs a function on pictures in sandbox workers: of this machine, or chunk by chunk on the cluster's machines."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from pipeline.core import executor
from pipeline.images import sandbox

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 256  # items


def run(
    function: Callable[[Item], Result], items: Sequence[Item], limits: sandbox.WorkerLimits
) -> Iterator[Result | sandbox.Failure]:
    """Yield, in order, each item's result or its Failure, as `sandbox.run`; `limits.workers` are those of this machine.

    Raises:
        UserError: as `sandbox.run` and `executor.map_shards`.

    """
    if executor.scheduler() is None:
        yield from sandbox.run(function, items, limits)
        return
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    one_each = replace(limits, workers=1)  # the cluster has a thread for each core
    for outcomes in executor.map_shards(partial(run_chunk, function, one_each), chunks):
        yield from outcomes


def run_chunk(
    function: Callable[[Item], Result], limits: sandbox.WorkerLimits, chunk: Sequence[Item]
) -> list[Result | sandbox.Failure]:
    """Return the outcomes of one chunk."""
    return list(sandbox.run(function, chunk, limits))
