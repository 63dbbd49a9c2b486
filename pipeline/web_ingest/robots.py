"""What robots.txt allows us, read once for each origin."""

import asyncio
from collections import Counter
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

    def __init__(
        self, read: Callable[[URL], Awaitable[bytes]], pace: Pace, *, longest_wait: float, attempts: int
    ) -> None:
        """`read` returns the text at a URL, b"" where there is none; `longest_wait` limits Crawl-delay, seconds.

        After so many `attempts` to read it that failed, it is not asked for again.
        """
        self._read, self._pace, self._longest_wait, self._attempts = read, pace, longest_wait, attempts
        self._tasks: dict[URL, asyncio.Task[Protego]] = {}
        self._failed: Counter[URL] = Counter()

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
        if self._failed[origin] >= self._attempts:
            raise RefusedError("robots: robots.txt cannot be read")
        if origin not in self._tasks:
            self._tasks[origin] = asyncio.create_task(self._load(origin))
        task = self._tasks[origin]
        try:
            return await asyncio.shield(task)
        except TransientError:
            if self._tasks.get(origin) is task:  # the next attempt reads it again
                del self._tasks[origin]
                self._failed[origin] += 1
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
