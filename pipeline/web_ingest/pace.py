"""When a host may be sent the next request."""

import asyncio
from collections.abc import Callable
from time import monotonic


class Pace:
    """At most one request each `delay` seconds to a host, and none before what it waits for; times in seconds."""

    def __init__(self, delay: float, *, clock: Callable[[], float] = monotonic) -> None:
        self._delay, self._clock = delay, clock
        self._delays: dict[str, float] = {}
        self._free: dict[str, float] = {}

    def due(self, host: str) -> float:
        """Return when the host has its next turn, on the clock; 0 if it had none yet."""
        return self._free.get(host, 0.0)

    def wait(self, host: str) -> float:
        """Return for how long the host may not be sent a request; 0 or less: it may now."""
        return self._free.get(host, 0.0) - self._clock()

    def take(self, host: str) -> float:
        """Take the host's next turn; return in how many seconds it is."""
        turn = max(self._clock(), self._free.get(host, 0.0))
        self._free[host] = turn + max(self._delay, self._delays.get(host, 0.0))
        return turn - self._clock()

    async def turn(self, host: str) -> None:
        """Take the host's next turn, and wait for it."""
        await asyncio.sleep(max(0.0, self.take(host)))

    def pause(self, host: str, seconds: float) -> None:
        """Send the host nothing for so long."""
        self._free[host] = max(self._free.get(host, 0.0), self._clock() + seconds)

    def slow_down(self, host: str, delay: float) -> None:
        """Wait at least `delay` seconds between two requests to the host."""
        self._delays[host] = delay
