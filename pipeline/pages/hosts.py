"""Which names a page may be asked for under: a page on loopback must not answer to a name that leads there.

A web site can point its own name at 127.0.0.1 (DNS rebinding): its scripts then read what this server answers, unless
the Host header, which they cannot change, is checked.
"""

import ipaddress
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass, field

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reachable from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class AllowedHosts:
    """The names under which a server answers.

    Attributes:
        names: Without port, in lower case; an IPv6 address in brackets.
        addresses: Whether any address in digits will do; one needs no look-up that someone could redirect.

    """

    names: Collection[str]
    addresses: bool = field(default=False)

    @classmethod
    def of(cls, host: str, *names: str) -> "AllowedHosts":
        """Return those of a server that listens at `host`: loopback's, its own, and the given further `names`."""
        literal = f"[{host.strip('[]')}]" if ":" in host else host
        everywhere = host.strip("[]") in {"0.0.0.0", "::"}  # noqa: S104 -- compared, not bound
        machine = {socket.gethostname(), socket.getfqdn()} if everywhere else set()
        own = {name.lower() for name in (*LOOPBACK, literal, *machine, *names) if name}
        return cls(frozenset(own), addresses=everywhere)

    def allow(self, header: str) -> bool:
        """Whether a request with this Host header is answered."""
        match = _HOST.fullmatch(header)
        if match is None:
            return False
        name = match[1].lower()
        return name in self.names or (self.addresses and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
