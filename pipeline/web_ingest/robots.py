"""What robots.txt allows us, read once for each origin."""

import asyncio
from collections.abc import Awaitable, Callable

from protego import Protego
from yarl import URL

from pipeline.web_ingest.connecting import AGENT
from pipeline.web_ingest.failures import RefusedError, TransientError
from pipeline.web_ingest.pace import Pace

MAX_BYTES = 500 * 2**10  # RFC 9309: as much must be read, more need not be
_MOST_RULES = 2_000_000  # agents times rules: the parser makes so many, and a hostile file could ask for 10^8


class Robots:
    """Asks each origin's robots.txt. A missing one allows everything, one that cannot be read nothing (RFC 9309)."""

    def __init__(self, read: Callable[[URL], Awaitable[bytes]], pace: Pace, longest_wait: float) -> None:
        """`read` returns the text at a URL, b"" where there is none; `longest_wait` limits Crawl-delay, seconds."""
        self._read, self._pace, self._longest_wait = read, pace, longest_wait
        self._tasks: dict[URL, asyncio.Task[Protego]] = {}

    async def check(self, url: URL) -> None:
        """Return if the URL may be fetched.

        Raises:
            RefusedError: it may not.
            TransientError: robots.txt cannot be read now.

        """
        rules = await self._rules(url)
        if not rules.can_fetch(str(url), AGENT):
            raise RefusedError("robots: robots.txt disallows it")

    async def _rules(self, url: URL) -> Protego:
        origin = url.origin()
        if origin not in self._tasks:
            self._tasks[origin] = asyncio.create_task(self._load(origin))
        task = self._tasks[origin]
        try:
            return await asyncio.shield(task)
        except TransientError:
            if self._tasks.get(origin) is task:  # the next attempt reads it again
                del self._tasks[origin]
            raise

    async def _load(self, origin: URL) -> Protego:
        host = origin.raw_host or ""
        rules = parse(await self._read(origin.with_path("/robots.txt")))
        delay = rules.crawl_delay(AGENT)
        if delay:
            self._pace.slow_down(host, min(delay, self._longest_wait))
        await self._pace.turn(host)  # robots.txt has used the one that the picture had waited for
        return rules


def parse(text: bytes) -> Protego:
    """Return the rules of a robots.txt.

    Raises:
        RefusedError: it is made to exhaust its reader.

    """
    lines = text.decode("utf-8", "replace").splitlines()
    agents = sum(line.lstrip().lower().startswith("user") for line in lines)
    if agents * (len(lines) - agents) > _MOST_RULES:
        raise RefusedError("robots: robots.txt has too many rules")
    return Protego.parse("\n".join(lines))
