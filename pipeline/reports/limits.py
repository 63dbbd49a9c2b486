"""Limits by address: a token bucket for each source, in the inbox's database.

A source is the hash of an address with a salt of the day. Salts of earlier days are deleted, and the buckets with them:
after midnight (UTC) nobody can tell which address a source was, or whether two sources of two days are one.
"""

import hashlib
import hmac
import ipaddress
import secrets
import sqlite3
import time
from datetime import UTC, datetime

from pipeline.params.reports import Reports

_DIGITS = 32
_IPV6_NETWORK = 64  # bits: a client has the rest of the address to choose from


def source_of(database: sqlite3.Connection, address: str) -> str:
    """Return an address's source of today."""
    day = datetime.now(UTC).date().isoformat()
    row = database.execute("SELECT salt FROM salts WHERE day = ?", (day,)).fetchone()
    if row is None:
        database.execute("DELETE FROM salts")
        database.execute("DELETE FROM buckets")
        database.execute("INSERT INTO salts VALUES (?, ?)", (day, secrets.token_bytes(32)))
        row = database.execute("SELECT salt FROM salts WHERE day = ?", (day,)).fetchone()
    return hmac.new(row["salt"], _network(address).encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def take(database: sqlite3.Connection, source: str, limits: Reports) -> bool:
    """Take a token out of a source's bucket; return whether there was one. An empty bucket is left as it is."""
    now = time.time()
    row = database.execute("SELECT tokens, at FROM buckets WHERE source = ?", (source,)).fetchone()
    tokens = float(limits.burst)
    if row is not None:
        passed = max(0.0, now - row["at"])
        tokens = min(tokens, row["tokens"] + passed * limits.per_hour / 3600.0)
    if tokens < 1.0:
        return False
    database.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?, ?)", (source, tokens - 1.0, now))
    return True


def _network(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the network of an IPv6 address."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv6Address):
        mapped = known.ipv4_mapped
        return str(mapped or ipaddress.ip_network((known, _IPV6_NETWORK), strict=False))
    return str(known)
