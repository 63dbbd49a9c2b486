"""The client's session: it connects to allowed addresses alone, to those that were checked, and sends nothing of ours.

A name is resolved once for each connection; every address of the answer must be allowed, and the connection goes to
these very addresses, so a name that changes its answer gains nothing. No proxy, not even of the environment; no
cookies, no credentials; certificates are verified against the name. Bodies are asked for as they are (identity).
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from pipeline.web_ingest.addresses import AddressRule
from pipeline.web_ingest.failures import ForbiddenAddressError

AGENT = "nsfw-pipeline"  # the name that robots.txt may address
MAX_LINE, MAX_HEADERS = 8190, 100  # bytes of a line of a head, and lines
_IDLE_SECONDS = 3.0  # of an unused connection: hosts are many, and each holds one of the process's files
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name, as texts, from the system's resolver."""
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # of Python's own encoding of names: a part is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "not a name") from None
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


class CheckedResolver(AbstractResolver):
    """Resolves a name to addresses that are all allowed; raises ForbiddenAddressError for any other name."""

    def __init__(self, rule: AddressRule, lookup: Lookup) -> None:
        self._rule, self._lookup = rule, lookup

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 -- aiohttp's interface
    ) -> list[ResolveResult]:
        """Return the addresses that the connection is made to, and no others."""
        addresses = await self._lookup(host, port)
        for address in addresses:
            check(self._rule, address, f"{host} resolves to {address}")
        return [_result(host, port, address) for address in addresses]

    async def close(self) -> None:
        """Nothing is held open."""


def check(rule: AddressRule, address: str, words: str) -> None:
    """Raise ForbiddenAddressError, with `words`, unless `rule` allows the address."""
    if not rule(address):
        raise ForbiddenAddressError(words)


def open_session(
    rule: AddressRule, contact: str, connections: int, *, lookup: Lookup = resolve
) -> aiohttp.ClientSession:
    """Return a session of at most `connections` connections, whose requests name `contact`; close it afterwards."""

    def open_socket(info: tuple[Any, ...]) -> socket.socket:
        # The last look, at the address itself: no way through the client leads past it.
        check(rule, str(info[4][0]), str(info[4][0]))
        return socket.socket(info[0], info[1], info[2])

    connector = aiohttp.TCPConnector(
        limit=connections,
        keepalive_timeout=_IDLE_SECONDS,
        use_dns_cache=False,
        resolver=CheckedResolver(rule, lookup),
        socket_factory=open_socket,
        ssl=ssl.create_default_context(),
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # each request has a limit of its own, as a whole
        max_line_size=MAX_LINE,
        max_field_size=MAX_LINE,
        max_headers=MAX_HEADERS,
        headers={
            "User-Agent": f"{AGENT}/{version('nsfw-pipeline')} (+{contact})",
            "Accept": "image/*, */*;q=0.1",
            "Accept-Encoding": "identity",
        },
    )


def _result(host: str, port: int, address: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
