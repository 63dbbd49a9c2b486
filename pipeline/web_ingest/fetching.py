"""Fetches one URL: each hop checked anew, the answer refused as early as it can be."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address

import aiohttp
from yarl import URL

from pipeline.images import signatures
from pipeline.web_ingest.addresses import AddressRule
from pipeline.web_ingest.failures import CLIENT_ERRORS, RefusedError, TransientError, translate
from pipeline.web_ingest.pace import Pace
from pipeline.web_ingest.robots import MAX_BYTES as MAX_ROBOTS_BYTES
from pipeline.web_ingest.robots import Robots

MAX_REDIRECTS = 5
MAX_URL = 4096  # characters
_REDIRECTS = {301, 302, 303, 307, 308}
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_NO_PICTURE = re.compile(r"text/|application/(?:json|javascript|pdf|xml|xhtml\+xml|zip)|audio/|video/")
_OBJECTIONS = re.compile(r"\b(noai|noimageai)\b", re.IGNORECASE)
_CHUNK = 64 * 2**10
_LARGE, _LARGE_AT_A_TIME = 2**20, 4  # bytes; of more, so few are read at a time that memory suffices

Reader = Callable[[aiohttp.ClientResponse], Awaitable[bytes]]


@dataclass
class Facts:
    """What the last answer for a URL was: filled in on the way, so that a refused one has them too."""

    final_url: str = ""
    http_status: int = 0
    content_type: str = ""
    etag: str = ""


def parse_url(text: str) -> URL:
    """Return an address that may be requested, without its fragment; its host is still to be checked.

    Raises:
        RefusedError: it is no http or https URL, is too long, or holds a user's name or a password.

    """
    if len(text) > MAX_URL or not text.isprintable() or " " in text:
        raise RefusedError("bad_url: too long, or with spaces or control characters")
    try:
        url = URL(text).with_fragment(None)
        port = url.port
    except (ValueError, TypeError):
        raise RefusedError("bad_url: not a web address") from None
    if url.scheme not in {"http", "https"} or not url.raw_host or not port:
        raise RefusedError("bad_url: only http and https")
    if url.raw_user is not None or url.raw_password is not None:
        raise RefusedError("bad_url: holds a user's name or a password")
    return url


class Fetcher:
    """Fetches pictures, within limits of time (seconds of a request) and size (bytes of an answer).

    `longest_wait`, `attempts`: as `Robots` has them.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        rule: AddressRule,
        pace: Pace,
        *,
        seconds: float,
        max_bytes: int,
        longest_wait: float,
        attempts: int,
    ) -> None:
        self._session, self._rule, self._pace = session, rule, pace
        self._seconds, self._max_bytes = seconds, max_bytes
        self._robots = Robots(self._robots_text, pace, longest_wait=longest_wait, attempts=attempts)
        self._large = asyncio.Semaphore(_LARGE_AT_A_TIME)
        self.answered: set[str] = set()  # hosts that answered something

    async def picture(self, text: str, facts: Facts) -> bytes:
        """Return the bytes of the picture at a URL; its host's turn was taken. Fills in `facts`.

        Raises:
            RefusedError: there is none, or it may not be taken.
            TransientError: there may be one later.

        """
        return await self._follow(parse_url(text), facts, self._read_picture, ask_robots=True)

    async def _follow(self, url: URL, facts: Facts, read: Reader, *, ask_robots: bool) -> bytes:
        for hop in range(MAX_REDIRECTS + 1):
            host = url.raw_host or ""
            facts.final_url = str(url)
            self._check_literal(host)
            if hop:
                await self._pace.turn(host)
            if ask_robots:
                await self._robots.check(url)
            answer = await self._request(url, facts, read)
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise RefusedError(f"redirects: more than {MAX_REDIRECTS}")

    async def _request(self, url: URL, facts: Facts, read: Reader) -> bytes | URL:
        """Return the body of an answer, or where it redirects to."""
        try:
            async with asyncio.timeout(self._seconds), self._session.get(url, allow_redirects=False) as response:
                self.answered.add(url.raw_host or "")
                facts.http_status = response.status
                facts.content_type = _shown(response.headers.get("Content-Type", ""))
                facts.etag = _shown(response.headers.get("ETag", ""))
                if response.status in _REDIRECTS:
                    return _target(url, response.headers.get("Location", ""))
                return await read(response)
        except CLIENT_ERRORS as error:
            raise translate(error, self._seconds) from None

    def _check_literal(self, host: str) -> None:
        try:
            ip_address(host)
        except ValueError:
            return  # a name: checked when it is resolved
        if not self._rule(host):
            raise RefusedError(f"forbidden_address: {host}")

    async def _read_picture(self, response: aiohttp.ClientResponse) -> bytes:
        _check_status(response)
        if any(_OBJECTIONS.search(value) for value in response.headers.getall("X-Robots-Tag", [])):
            raise RefusedError("noai: the server's X-Robots-Tag forbids it")
        if _NO_PICTURE.match(response.content_type):
            raise RefusedError(f"not_a_picture: {_shown(response.content_type)}")
        announced = response.content_length or 0
        body = b"" if announced > self._max_bytes else await self._read(response, self._max_bytes)
        if max(announced, len(body)) > self._max_bytes:
            raise RefusedError(f"too_large: more than {self._max_bytes} bytes")
        if not body:
            raise RefusedError("empty: an answer without bytes")
        signature = signatures.identify(body)
        if signature is None or signature.kind != "picture":
            raise RefusedError(f"not_a_picture: {signature.name if signature else 'bytes of no known format'}")
        return body

    async def _robots_text(self, url: URL) -> bytes:
        return await self._follow(url, Facts(), self._read_robots, ask_robots=False)

    async def _read_robots(self, response: aiohttp.ClientResponse) -> bytes:
        if 400 <= response.status < 500 and response.status != 429:
            return b""
        _check_status(response, "robots: robots.txt answers ")
        return (await self._read(response, MAX_ROBOTS_BYTES))[:MAX_ROBOTS_BYTES]

    async def _read(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        """Return the body, or its beginning of more than `most` bytes, if it is longer."""
        body = bytearray()
        async with AsyncExitStack() as stack:
            async for chunk in response.content.iter_chunked(_CHUNK):
                if len(body) <= _LARGE < len(body) + len(chunk):
                    await stack.enter_async_context(self._large)
                body += chunk
                if len(body) > most:
                    break
        return bytes(body)


def _check_status(response: aiohttp.ClientResponse, words: str = "") -> None:
    if response.status in _TRANSIENT:
        raise TransientError(f"{words}http_{response.status}", _retry_after(response.headers.get("Retry-After", "")))
    if response.status != 200:
        raise RefusedError(f"{words}http_{response.status}")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        # Never decoded: pictures gain nothing by it, and what is small may become endless.
        raise RefusedError(f"{words}content_encoding: {_shown(encoding)}, though none was wanted")


def _target(url: URL, location: str) -> URL:
    if not location:
        raise RefusedError("redirects: without a target")
    try:
        joined = url.join(URL(location))
    except (ValueError, TypeError):
        raise RefusedError("bad_url: a redirect to what is no web address") from None
    return parse_url(str(joined))


def _retry_after(value: str) -> float:
    """Return the seconds that a Retry-After header names, in either of its forms; 0 for what is neither."""
    if re.fullmatch(r"\d{1,9}", value.strip()):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _shown(value: str) -> str:
    return "".join(char if char.isprintable() else " " for char in value)[:200]
