"""Untrusted bytes to what a model takes, in worker processes, for a service that must not wait.

There are two lanes. Every picture begins in the quick one, where it may take little CPU time. One that takes more, or
costs its worker, goes to the slow lane, whose workers yield the processors to all others. So a client whose pictures
all hang, or kill their worker, waits in a line of such pictures, not before everybody else's.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TypeGuard

from pipeline.images import sandbox
from pipeline.images.preprocessing import FrameSquares
from pipeline.images.sandbox import Failure, Limits

_log = logging.getLogger(__name__)

Squaring = Callable[[bytes], FrameSquares]  # picklable; of a picture's bytes

_LEAST_SECONDS = 0.05  # of CPU time in the quick lane, when many are in the slow one; most photographs take less
_NICE = 5  # of the slow lane's workers: a quarter of a processor where others want it
_ASIDE = 256  # pictures in the slow lane, at most; past it, an answer is held back for a second
_COSTLY_SECONDS, _COSTLY = 60.0, 10_000  # for how long, and of how many pictures, it is known that they cost a worker


@dataclass
class Asker:
    """One request: `aside` is entered while a picture of it is in the slow lane.

    Once a picture of a request was costly, the others go to the slow lane at once.
    """

    aside: Callable[[], AbstractContextManager[None]] = nullcontext
    costly: bool = False


@dataclass
class _Known:
    """Pictures that have lately cost two workers, by digest."""

    failures: OrderedDict[str, tuple[float, Failure]] = field(default_factory=OrderedDict)

    def get(self, sha256: str) -> Failure | None:
        until, failure = self.failures.get(sha256, (0.0, None))
        return failure if time.monotonic() < until else None

    def add(self, sha256: str, failure: Failure) -> None:
        self.failures[sha256] = time.monotonic() + _COSTLY_SECONDS, failure
        self.failures.move_to_end(sha256)
        while len(self.failures) > _COSTLY:
            self.failures.popitem(last=False)


class Decoders:
    """The worker processes, as something to await.

    decoders = Decoders(Limits(seconds=5, memory_mb=512, workers=2), quick_seconds=0.5)
    outcome = await decoders.frames(squaring.frames_from_bytes, data, sha256, Asker())
    """

    def __init__(self, limits: Limits, *, quick_seconds: float) -> None:
        # One more than are at work: where one is being replaced, nobody waits for that.
        self._limits = replace(limits, workers=limits.workers + 1)
        self._quick_seconds = min(quick_seconds, limits.seconds)
        self._slow = replace(limits, nice=_NICE)
        self._patience = 2 * limits.seconds
        self._turns = asyncio.Semaphore(2 * limits.workers)  # one in work and one at hand for each worker
        self._slow_turns = asyncio.Semaphore(limits.workers)
        self._aside = 0
        self._known = _Known()

    def start(self, squaring: Squaring) -> None:
        """Start the workers and let each import what it needs: a first request is as quick as any."""
        begun = [sandbox.submit(squaring, b"", self._limits) for _ in range(4 * self._limits.workers)]
        begun.append(sandbox.submit(squaring, b"", self._slow))
        for future in begun:
            future.result()

    async def frames(self, squaring: Squaring, data: bytes, sha256: str, asker: Asker) -> FrameSquares | Failure:
        """Return a picture's frames, or the Failure that it met; never an exception, whatever the picture does.

        It waits for a worker, in each lane, no longer than twice a picture's time. Where nothing can be said of it,
        which is not its own fault, the Failure is `unavailable`.
        """
        if (known := self._known.get(sha256)) is not None:
            return known
        try:
            outcome = await self._frames(squaring, data, asker)
        except TimeoutError:
            return Failure("unavailable", f"its turn did not come within {self._patience:g} s, or took too long")
        except Exception:  # noqa: BLE001 -- a defect of ours in the worker: the service goes on, and the log tells
            _log.exception("decoding failed")
            return Failure("crashed", "its decoder failed")
        if _is_costly(outcome):
            self._known.add(sha256, outcome)
        return outcome

    async def _frames(self, squaring: Squaring, data: bytes, asker: Asker) -> FrameSquares | Failure:
        outcome = await self._quickly(squaring, data, asker)
        if not _is_costly(outcome):
            return outcome
        asker.costly = True
        with asker.aside():
            return await self._slowly(squaring, data)

    async def _quickly(self, squaring: Squaring, data: bytes, asker: Asker) -> FrameSquares | Failure:
        """Return what came of a picture in little time; a Failure that is not final where it takes more."""
        async with asyncio.timeout(self._patience), self._turns:
            if asker.costly:
                return Failure("timeout", "another picture of its request was costly")
            limits = replace(self._limits, seconds=max(_LEAST_SECONDS, self._quick_seconds / (1 + self._aside)))
            outcome = await asyncio.wrap_future(sandbox.submit(squaring, data, limits))
            if isinstance(outcome, Failure) and outcome.code == "unavailable":  # its worker was killed from outside
                outcome = await asyncio.wrap_future(sandbox.submit(squaring, data, limits, fresh=True))
            return outcome

    async def _slowly(self, squaring: Squaring, data: bytes) -> FrameSquares | Failure:
        """Return what came of a picture in a fresh worker, once there is a place for it."""
        if self._aside >= _ASIDE:
            await asyncio.sleep(1.0)
            return Failure("unavailable", "too many pictures that take long are waiting")
        self._aside += 1
        try:
            return await self._in_turn(squaring, data)
        finally:
            self._aside -= 1

    async def _in_turn(self, squaring: Squaring, data: bytes) -> FrameSquares | Failure:
        async with asyncio.timeout(self._patience):
            await self._slow_turns.acquire()
        outcome: FrameSquares | Failure | None = None
        try:
            outcome = await asyncio.wrap_future(sandbox.submit(squaring, data, self._slow, fresh=True))
            return outcome
        finally:
            # A place that lost its worker stays empty as long as a picture may take: no crash is cheaper than a hang.
            rest = 0.0 if outcome is not None and not _is_costly(outcome) else self._limits.seconds
            asyncio.get_running_loop().call_later(rest, self._slow_turns.release)


def _is_costly(outcome: FrameSquares | Failure) -> TypeGuard[Failure]:
    """Tell whether a picture took its worker's life or time; one that was killed from outside did not."""
    return isinstance(outcome, Failure) and not outcome.final and outcome.code != "unavailable"
