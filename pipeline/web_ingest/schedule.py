"""Which URL comes next: hosts side by side, each at its own pace, so that a slow one holds up no other."""

import asyncio
import heapq
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from pipeline.web_ingest.pace import Pace


@dataclass
class Lane:
    """A host's URLs that nobody works at, and how many are being worked at."""

    host: str
    waiting: deque[str] = field(default_factory=deque)
    active: int = 0
    queued: bool = False


class Schedule:
    """Hands URLs out to workers, at most `per_host` of a host at a time."""

    def __init__(self, pace: Pace, per_host: int) -> None:
        self._pace, self._per_host = pace, per_host
        self._lanes: dict[str, Lane] = {}
        self._ready: list[tuple[float, int, Lane]] = []  # by the wait when it was put in; looked up again when taken
        self._order = count()
        self._open = 0
        self._changed = asyncio.Event()

    def add(self, host: str, url: str) -> None:
        """Add a URL, behind those of its host."""
        lane = self._lanes.setdefault(host, Lane(host))
        lane.waiting.append(url)
        self._open += 1
        self._queue(lane)

    async def take(self) -> tuple[Lane, str] | None:
        """Wait for a host's turn; return its next URL, or None when every URL is finished."""
        while self._open:
            wait = self._wait()
            if wait is not None and wait <= 0:
                return self._start()
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()
        return None

    def finish(self, lane: Lane) -> None:
        """A URL that was taken is finished."""
        self._open -= 1
        self._release(lane)

    def again(self, lane: Lane, url: str, seconds: float) -> None:
        """A URL that was taken comes again, first of its host, which is sent nothing for so long."""
        self._pace.pause(lane.host, seconds)
        lane.waiting.appendleft(url)
        self._release(lane)

    def drop(self, lane: Lane) -> Iterable[str]:
        """Finish all of a host's URLs that nobody works at; return them."""
        dropped = list(lane.waiting)
        lane.waiting.clear()
        self._open -= len(dropped)
        return dropped

    def _release(self, lane: Lane) -> None:
        lane.active -= 1
        self._queue(lane)
        self._changed.set()

    def _queue(self, lane: Lane) -> None:
        if lane.waiting and lane.active < self._per_host and not lane.queued:
            lane.queued = True
            due = self._pace.due(lane.host)
            heapq.heappush(self._ready, (due, next(self._order), lane))

    def _wait(self) -> float | None:
        """Return the seconds until a host has its turn, None if none waits for one."""
        while self._ready:
            due, _, lane = self._ready[0]
            if lane.waiting and due >= self._pace.due(lane.host):
                return self._pace.wait(lane.host)
            heapq.heappop(self._ready)
            lane.queued = False
            self._queue(lane)
        return None

    def _start(self) -> tuple[Lane, str]:
        lane = heapq.heappop(self._ready)[2]
        lane.queued = False
        lane.active += 1
        url = lane.waiting.popleft()
        self._pace.take(lane.host)
        self._queue(lane)
        self._changed.set()
        return lane, url
