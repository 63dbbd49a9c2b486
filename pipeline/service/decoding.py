"""Decodes untrusted bytes into a model's input, in worker processes, without blocking the event loop.

There are two lanes. Every picture starts in the quick lane, with little CPU time. A picture that needs more, or that
crashes its worker, moves to the slow lane, whose workers have a lower priority. So a client whose pictures all hang or
crash their worker waits behind other such pictures, and does not delay the rest.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TypeGuard, TypeVar

from pipeline.images import sandbox
from pipeline.images.preprocessing import FramePixels
from pipeline.images.sandbox import Failure, WorkerLimits

_log = logging.getLogger(__name__)

Preprocess = Callable[[bytes], FramePixels]  # of a picture's bytes; it must be picklable
Result = TypeVar("Result")

_MIN_QUICK_SECONDS = 0.05  # of CPU time in the quick lane, if many are in the slow one; enough for most photographs
_NICE = 5  # of the slow lane's workers: about a quarter of a contended processor
_MAX_SLOW = 256  # pictures in the slow lane; if it is full, the refusal is delayed by a second
_FAILURE_SECONDS, _MAX_FAILURES = 60.0, 10_000  # how long, and how many, failures are remembered


@dataclass
class RequestState:
    """The state of one request.

    Attributes:
        uncounted: entered while a picture of the request is in the slow lane.
        costly: whether one of its pictures was costly; then the others go to the slow lane at once.

    """

    uncounted: Callable[[], AbstractContextManager[None]] = nullcontext
    costly: bool = False


@dataclass
class _RecentFailures:
    """Pictures that recently failed in both lanes, by SHA-256."""

    failures: OrderedDict[str, tuple[float, Failure]] = field(default_factory=OrderedDict)

    def get(self, sha256: str) -> Failure | None:
        until, failure = self.failures.get(sha256, (0.0, None))
        return failure if time.monotonic() < until else None

    def add(self, sha256: str, failure: Failure) -> None:
        self.failures[sha256] = time.monotonic() + _FAILURE_SECONDS, failure
        self.failures.move_to_end(sha256)
        while len(self.failures) > _MAX_FAILURES:
            self.failures.popitem(last=False)


class Decoders:
    """An asynchronous interface to the decoding workers.

    decoders = Decoders(WorkerLimits(seconds=5, memory_mb=512, workers=2), quick_seconds=0.5)
    outcome = await decoders.frames(preprocess, data, sha256, RequestState())
    """

    def __init__(self, limits: WorkerLimits, *, quick_seconds: float) -> None:
        # One spare worker, so that no picture waits while a lost worker is replaced.
        self._limits = replace(limits, workers=limits.workers + 1)
        self._quick_seconds = min(quick_seconds, limits.seconds)
        self._slow = replace(limits, nice=_NICE)
        self._max_wait = 2 * limits.seconds
        self._turns = asyncio.Semaphore(2 * limits.workers)  # for each worker, one picture in work and one queued
        self._slow_turns = asyncio.Semaphore(limits.workers)
        self._slow_pictures = 0
        self._failures = _RecentFailures()

    def start(self, preprocess: Callable[[bytes], object]) -> None:
        """Start the workers and wait until each has imported what it needs, so that the first request is not slower."""
        begun = [sandbox.submit(preprocess, b"", self._limits) for _ in range(4 * self._limits.workers)]
        begun.append(sandbox.submit(preprocess, b"", self._slow))
        for future in begun:
            future.result()

    async def frames(
        self, preprocess: Callable[[bytes], Result], data: bytes, sha256: str, state: RequestState
    ) -> Result | Failure:
        """Return a picture's frames (or what else `preprocess` returns), or a Failure; no picture makes it raise.

        In each lane it waits for a worker for at most twice a picture's time limit. The Failure is `unavailable` if the
        picture could not be decoded for a reason that is not its own fault.
        """
        if (known := self._failures.get(sha256)) is not None:
            return known
        try:
            outcome = await self._decode(preprocess, data, state)
        except TimeoutError:
            return Failure("unavailable", f"its turn did not come within {self._max_wait:g} s, or took too long")
        except Exception:  # noqa: BLE001 -- a defect of ours in the worker: log it and go on
            _log.exception("decoding failed")
            return Failure("crashed", "its decoder failed")
        if _is_costly(outcome):
            self._failures.add(sha256, outcome)
        return outcome

    async def _decode(
        self, preprocess: Callable[[bytes], Result], data: bytes, state: RequestState
    ) -> Result | Failure:
        outcome = await self._decode_quick(preprocess, data, state)
        if not _is_costly(outcome):
            return outcome
        state.costly = True
        with state.uncounted():
            return await self._decode_slow(preprocess, data)

    async def _decode_quick(
        self, preprocess: Callable[[bytes], Result], data: bytes, state: RequestState
    ) -> Result | Failure:
        """Decode within little CPU time; return a Failure that is not final if the picture needs more."""
        async with asyncio.timeout(self._max_wait), self._turns:
            if state.costly:
                return Failure("timeout", "another picture of its request was costly")
            limits = replace(
                self._limits, seconds=max(_MIN_QUICK_SECONDS, self._quick_seconds / (1 + self._slow_pictures))
            )
            outcome = await asyncio.wrap_future(sandbox.submit(preprocess, data, limits))
            if isinstance(outcome, Failure) and outcome.code == "unavailable":  # its worker was killed from outside
                outcome = await asyncio.wrap_future(sandbox.submit(preprocess, data, limits, fresh=True))
            return outcome

    async def _decode_slow(self, preprocess: Callable[[bytes], Result], data: bytes) -> Result | Failure:
        """Decode in a fresh worker with the full time limit, once one of the slow lane is free."""
        if self._slow_pictures >= _MAX_SLOW:
            await asyncio.sleep(1.0)
            return Failure("unavailable", "too many pictures that take long are waiting")
        self._slow_pictures += 1
        try:
            return await self._decode_alone(preprocess, data)
        finally:
            self._slow_pictures -= 1

    async def _decode_alone(self, preprocess: Callable[[bytes], Result], data: bytes) -> Result | Failure:
        async with asyncio.timeout(self._max_wait):
            await self._slow_turns.acquire()
        outcome: Result | Failure | None = None
        try:
            outcome = await asyncio.wrap_future(sandbox.submit(preprocess, data, self._slow, fresh=True))
            return outcome
        finally:
            # After a lost worker, its slot stays unused for the time limit: a crash must not be cheaper than a hang.
            pause = 0.0 if outcome is not None and not _is_costly(outcome) else self._limits.seconds
            asyncio.get_running_loop().call_later(pause, self._slow_turns.release)


def _is_costly(outcome: object) -> TypeGuard[Failure]:
    """Whether a picture crashed its worker or used up its time; a worker killed from outside does not count."""
    return isinstance(outcome, Failure) and not outcome.final and outcome.code != "unavailable"
