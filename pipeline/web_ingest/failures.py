"""Why a URL gave no picture: for good, or for now. A reason is `code: detail`, as in every row of data/sightings."""

import socket

import aiohttp

_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


class RefusedError(Exception):
    """Another request would end the same way. `nameless`: the host's name is known to no server."""

    def __init__(self, reason: str, *, nameless: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.nameless = reason, nameless


class TransientError(Exception):
    """Another request may succeed, `wait` seconds later if the server named a time."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.wait = reason, wait


class ForbiddenAddressError(Exception):
    """A name resolves to an address that may not be connected to, or a URL holds one."""


# Beside the client's own: what hostile bytes may make of it.
CLIENT_ERRORS = (aiohttp.ClientError, TimeoutError, ForbiddenAddressError, ValueError, OSError)

# The first row that an error is an instance of counts.
_MEANINGS: tuple[tuple[type[BaseException], type[RefusedError | TransientError], str], ...] = (
    (aiohttp.ClientConnectorCertificateError, RefusedError, "tls: the certificate is not valid for this name"),
    (aiohttp.ClientSSLError, RefusedError, "tls: no secure connection"),
    (aiohttp.ClientConnectorError, TransientError, "connect: no connection"),
    (aiohttp.ClientPayloadError, TransientError, "truncated: the answer ended too early"),
    (aiohttp.ClientConnectionError, TransientError, "reset: the server closed the connection"),
    (aiohttp.InvalidURL, RefusedError, "bad_url: not a web address"),
    (aiohttp.NonHttpUrlClientError, RefusedError, "bad_url: not a web address"),
    (ValueError, RefusedError, "bad_response: not an answer of HTTP"),
    (OSError, TransientError, "reset: the server closed the connection"),
)


def translate(error: Exception, seconds: float) -> RefusedError | TransientError:
    """Return what an error of the client means for a URL; `seconds` is the time limit of a request."""
    if isinstance(error, ForbiddenAddressError):
        return RefusedError(f"forbidden_address: {error}")
    if isinstance(error, TimeoutError):
        return TransientError(f"timeout: no whole answer within {seconds:g} s")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _unresolved(error)
    if isinstance(error, aiohttp.ClientResponseError):
        return _malformed(error)
    for kind, meaning, reason in _MEANINGS:
        if isinstance(error, kind):
            return meaning(reason)
    return TransientError(f"client: {type(error).__name__}")


def _unresolved(error: aiohttp.ClientConnectorDNSError) -> RefusedError | TransientError:
    cause = error.os_error
    if isinstance(cause, socket.gaierror) and cause.errno in _NO_SUCH_NAME:
        return RefusedError("dns: the name does not exist", nameless=True)
    return TransientError("dns: the name cannot be resolved")


def _malformed(error: aiohttp.ClientResponseError) -> RefusedError:
    if "more than" in error.message or "Too many" in error.message:
        return RefusedError("header_too_large: a line of the answer's head, or their number")
    return RefusedError("bad_response: not an answer of HTTP")
