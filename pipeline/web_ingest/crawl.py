"""Fetches many URLs, into a journal: several at a time, each until it is taken, refused or given up."""

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Protocol

from pipeline.core.errors import UserError
from pipeline.data.escalations import ESCALATED, Verdict
from pipeline.images import signatures
from pipeline.params.ingest import Ingest
from pipeline.web_ingest.addresses import AddressRule, is_public
from pipeline.web_ingest.connecting import Lookup, open_session, resolve
from pipeline.web_ingest.failures import RefusedError, TransientError
from pipeline.web_ingest.fetching import Facts, Fetcher, parse_url
from pipeline.web_ingest.journal import REFUSED, STORED, Journal, Outcome
from pipeline.web_ingest.pace import Pace
from pipeline.web_ingest.schedule import Lane, Schedule

_EXTENSIONS = {
    "JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp", "BMP": ".bmp", "AVIF": ".avif", "HEIF": ".heic",
    "TIFF": ".tif",
}  # fmt: skip
_UNREACHED = ("dns", "connect", "timeout", "reset")


class Examiner(Protocol):
    """Screens contents; `digest` says by what."""

    digest: str

    def examine(self, data: bytes) -> Verdict:
        """Return what the screens say; several threads may call it."""


class Crawl:
    """One run over the URLs that the journal has no outcome for."""

    def __init__(
        self,
        fetcher: Fetcher,
        pace: Pace,
        journal: Journal,
        limits: Ingest,
        done: Callable[[], object],
        screens: Examiner | None = None,
    ) -> None:
        """`done` is called for every URL that is finished; `screens` looks at each content before it is written."""
        self._screens = screens
        self._fetcher, self._journal, self._limits, self._done = fetcher, journal, limits, done
        self._schedule = Schedule(pace, limits.per_host)
        self._dead = journal.dead()

    async def run(self, urls: Iterable[str]) -> None:
        """Fetch `urls`."""
        for url in urls:
            self._add(url)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._limits.connections):
                group.create_task(self._work())

    def _add(self, url: str) -> None:
        try:
            host = parse_url(url).raw_host or ""
        except RefusedError as refused:
            self._refuse(url, refused.reason, Facts(), attempts=0)
            return
        if host in self._dead:
            self._refuse(url, self._dead[host], Facts(), attempts=0)
        else:
            self._schedule.add(host, url)

    async def _work(self) -> None:
        while (turn := await self._schedule.take()) is not None:
            await self._fetch(*turn)

    async def _fetch(self, lane: Lane, url: str) -> None:
        facts, attempts = Facts(), self._journal.failed_attempts(url) + 1
        try:
            content = await self._fetcher.picture(url, facts)
        except RefusedError as refused:
            self._refuse(url, refused.reason, facts, attempts)
            if refused.nameless and lane.host not in self._fetcher.answered:
                self._give_up(lane, refused.reason)
        except TransientError as failure:
            if self._may_try_again(failure, attempts):
                self._journal.note_failed(url, attempts)
                pause = self._limits.backoff_seconds * 2 ** (attempts - 1)
                self._schedule.again(lane, url, min(max(pause, failure.wait), self._limits.longest_wait_seconds))
                return
            self._refuse(url, failure.reason, facts, attempts)
            self._judge_host(lane, failure)
        else:
            await self._take(url, content, facts, attempts)
        self._schedule.finish(lane)

    def _judge_host(self, lane: Lane, failure: TransientError) -> None:
        """Give up a host that answers nothing, or that wants a longer pause than we wait."""
        if failure.wait > self._limits.longest_wait_seconds:
            self._give_up(lane, f"host_busy: wants a pause of {failure.wait:.0f} s ({failure.reason})")
        elif failure.reason.startswith(_UNREACHED) and lane.host not in self._fetcher.answered:
            self._give_up(lane, f"host_down: {failure.reason}")

    def _may_try_again(self, failure: TransientError, attempts: int) -> bool:
        return attempts < self._limits.attempts and failure.wait <= self._limits.longest_wait_seconds

    def _give_up(self, lane: Lane, reason: str) -> None:
        """Refuse a host's other URLs without a request."""
        self._dead[lane.host] = reason
        self._journal.note_dead(lane.host, reason)
        for url in self._schedule.drop(lane):
            self._refuse(url, reason, Facts(), attempts=0)

    def _refuse(self, url: str, reason: str, facts: Facts, attempts: int) -> None:
        self._journal.record(url, _outcome(REFUSED, facts, attempts, reason=reason))
        self._done()

    async def _take(self, url: str, content: bytes, facts: Facts, attempts: int) -> None:
        """Screen a content, and store it if nothing matches: what matches is never written."""
        if self._screens is None:
            self._store(url, content, facts, attempts)
            return
        verdict = await asyncio.to_thread(self._screens.examine, content)
        if verdict.matches:
            outcome = _outcome(
                ESCALATED, facts, attempts, reason=verdict.reason, size=len(content), sha256=verdict.sha256
            )
            self._journal.record(url, outcome)
            self._journal.escalate(verdict)
            self._done()
        elif verdict.problem:
            self._refuse(url, verdict.reason, facts, attempts)
        else:
            self._store(url, content, facts, attempts, screened=self._screens.digest)

    def _store(self, url: str, content: bytes, facts: Facts, attempts: int, screened: str = "") -> None:
        signature = signatures.identify(content)
        extension = _EXTENSIONS.get(signature.name, "") if signature else ""
        sha256 = hashlib.sha256(content).hexdigest()
        outcome = _outcome(STORED, facts, attempts, size=len(content), sha256=sha256, extension=extension)
        self._journal.record(url, outcome, content, screened=screened)
        self._done()


def fetch_all(
    urls: Iterable[str],
    journal: Journal,
    limits: Ingest,
    contact: str,
    *,
    done: Callable[[], object],
    screens: Examiner | None = None,
    rule: AddressRule = is_public,
    lookup: Lookup = resolve,
) -> None:
    """Fetch `urls` into the journal; `contact` is named in every request, `done` called for every URL.

    Contents that `screens` match are never written. Raises UserError where a screen is out of service.

    `rule` says which addresses may be connected to, `lookup` resolves names: arguments for tests alone.
    """

    async def run() -> None:
        pace = Pace(limits.delay_seconds)
        async with open_session(rule, contact, limits.connections, lookup=lookup) as session:
            fetcher = Fetcher(
                session,
                rule,
                pace,
                seconds=limits.seconds,
                max_bytes=limits.picture_mb * 2**20,
                longest_wait=limits.longest_wait_seconds,
                attempts=limits.attempts,
            )
            await Crawl(fetcher, pace, journal, limits, done, screens).run(urls)

    try:
        asyncio.run(run())
    except ExceptionGroup as failures:
        if (of_user := failures.subgroup(UserError)) is not None:
            raise of_user.exceptions[0] from None
        of_journal = failures.subgroup(sqlite3.Error)
        if of_journal is None:
            raise
        reason = of_journal.exceptions[0]
        raise UserError(f"{journal.path} cannot be written ({reason}). What it holds stays: run this again.") from None


def _outcome(
    status: str,
    facts: Facts,
    attempts: int,
    *,
    reason: str = "",
    size: int = 0,
    sha256: str | None = None,
    extension: str = "",
) -> Outcome:
    return Outcome(
        status=status,
        reason=reason,
        **asdict(facts),
        bytes=size,
        sha256=sha256,
        extension=extension,
        attempts=attempts,
        fetched_at=datetime.now(UTC).isoformat(timespec="microseconds"),
    )
