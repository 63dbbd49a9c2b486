"""Ports of loopback: free ones, and whether something answers there."""

import socket
import urllib.error
import urllib.request


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=10).close()  # noqa: S310 -- our own server
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
    return True
