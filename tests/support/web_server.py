"""A server on 127.0.0.1 that behaves as the web does: each path is a behaviour, many of them bad."""

import gzip
import io
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

import numpy as np
from PIL import Image

NAMES = {
    f"{name}.test" for name in ("good", "closed", "slow", "other", "alike", "big", "absent", "flaky", "broken", "lost")
}


def picture(number: int, kind: str = "PNG") -> bytes:
    """A small picture of a kind, another for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def response(
    body: bytes, *lines: str, status: str = "200 OK", kind: str = "image/png", length: int | None = None
) -> bytes:
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        *lines,
        f"Content-Length: {len(body) if length is None else length}",
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def redirect(target: str) -> bytes:
    return response(b"", f"Location: {target}", status="302 Found")


class WebServer:
    """Counts the requests for each (host, path), and answers them by path."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.requests: Counter[tuple[str, str]] = Counter()
        self.heads: list[str] = []
        self.changed = False
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._socket.getsockname()[1]
        self._closing = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path: str, host: str = "good.test") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}/{path}"

    def close(self) -> None:
        self._closing.set()
        self._socket.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        try:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as lines:
                while self._answer(connection, lines):
                    pass
        except OSError:  # the client has had enough
            connection.close()

    def _answer(self, connection: socket.socket, lines: io.BufferedReader) -> bool:
        head = ""
        while line := lines.readline():
            if line == b"\r\n":
                break
            head += line.decode()
        if not head:
            return False
        path = head.split()[1].lstrip("/")
        host = next(line for line in head.splitlines() if line.lower().startswith("host: "))[6:].partition(":")[0]
        self.requests[host, path] += 1
        self.heads.append(head)
        return self._behave(connection, host, path)

    def _behave(self, connection: socket.socket, host: str, path: str) -> bool:
        streams: Mapping[str, Callable[[socket.socket], object]] = {
            "drip": self._drip, "endless": self._endless, "lying_short": _lying_short, "reset": _reset,
            "endless_head": self._endless_head, "slow_head": self._drip_head,
        }  # fmt: skip
        path = path.partition("?")[0]  # what follows only makes another URL of it
        behaviour = path.partition("/")[0]
        if behaviour in streams:
            streams[behaviour](connection)
            return False
        connection.sendall(self.answer(host, path))
        return True

    def answer(self, host: str, path: str) -> bytes:
        """The whole answer for a path, where it is one."""
        name, _, rest = path.partition("/")
        if name == "robots.txt":
            return self._robots(host)
        if name in self._simple:
            return self._simple[name]
        if name == "loop":
            return redirect(f"/loop/{int(rest) + 1}")
        if name == "hops":
            return redirect(f"/hops/{int(rest) - 1}" if int(rest) else "/ok/1")
        if name == "changing":
            return response(picture(7 if self.changed else 6))
        if name in {"again_429", "again_503"} and self.requests[host, path] == 1:
            return response(b"", "Retry-After: 0", status=f"{name[-3:]} Later")
        if name == "again_500" and self.requests[host, path] < 3:
            return response(b"", status="500 Oops")
        return response(picture(int(rest) if rest.isdigit() else 1))

    @cached_property
    def _simple(self) -> dict[str, bytes]:
        metadata = f"169.254.169.254:{self.port}"
        return {
            "gone": response(b"gone", status="404 Not Found", kind="text/plain"),
            "error": response(b"", status="500 Oops"),
            "busy": response(b"", "Retry-After: 3600", status="429 Too Many"),
            "html": response(b"<html>", kind="text/html; charset=utf-8"),
            "html_as_jpeg": response(b"<!doctype html><p>gone", kind="image/jpeg"),
            "empty": response(b""),
            "noai": response(picture(2), "X-Robots-Tag: noindex, noai"),
            "noimageai": response(picture(2), "X-Robots-Tag: all", "X-Robots-Tag: bot: NoImageAI"),
            "bomb": response(gzip.compress(bytes(10_000_000)), "Content-Encoding: gzip"),
            "br": response(b"\x8b" * 100, "Content-Encoding: br"),
            "zstd": response(b"\x28\xb5\x2f\xfd" * 100, "Content-Encoding: zstd"),
            "long_line": response(picture(2), f"X-Long: {'x' * 10_000}"),
            "many_lines": response(picture(2), *(f"X-{number}: x" for number in range(500))),
            "too_large": response(b"", length=3 * 2**20),
            "lying_long": response(picture(2), length=10_000),
            "lying_less": response(picture(2), length=60),
            "chunks_too_large": _chunked(bytes(2**20) * 2),
            "chunked": _chunked(picture(3)),
            "to_other": redirect(f"http://other.test:{self.port}/ok/1"),
            "to_metadata": redirect(f"http://{metadata}/latest"),
            "to_nat64": redirect(f"http://[64:ff9b::a9fe:a9fe]:{self.port}/"),
            "to_mapped": redirect(f"http://[::ffff:10.0.0.1]:{self.port}/"),
            "to_number": redirect(f"http://2852039166:{self.port}/"),
            "to_private_name": redirect(f"http://private.test:{self.port}/"),
            "to_file": redirect("file:///etc/passwd"),
            "to_user": redirect(f"http://user:password@good.test:{self.port}/ok/1"),
            "to_closed": redirect(f"http://closed.test:{self.port}/private/1"),
            "to_nowhere": response(b"", status="302 Found"),
            "cookie": response(picture(4), "Set-Cookie: id=1; Path=/"),
            "etag": response(picture(5), 'ETag: "five"'),
            "large": response(picture(8).ljust(2 * 2**20, b"\0")),
            "no_http": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        } | {
            kind.lower(): response(picture(9, kind), kind=f"image/{kind.lower()}")
            for kind in ("JPEG", "GIF", "WEBP", "BMP")
        }

    def _robots(self, host: str) -> bytes:
        if host == "closed.test":
            return response(b"User-agent: *\nDisallow: /private\n", kind="text/plain")
        if host == "big.test":
            return response(b"User-agent: a\n" * 9000 + b"Disallow: /\n" * 9000, kind="text/plain")
        if host == "lost.test":
            return redirect("http://absent.test/robots.txt")
        if host == "broken.test":
            return response(b"", status="500 Oops")
        if host == "flaky.test" and self.requests[host, "robots.txt"] == 1:
            return response(b"", status="503 Later")
        return response(b"", status="404 Not Found")

    def _drip(self, connection: socket.socket) -> None:
        connection.sendall(response(b"", length=1000))
        self._forever(connection, b"x", 0.05)

    def _drip_head(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        self._forever(connection, b"X", 0.05)

    def _endless(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n" + picture(1))
        self._forever(connection, bytes(2**16), 0.0)

    def _endless_head(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        self._forever(connection, b"X-Line: x\r\n", 0.0)

    def _forever(self, connection: socket.socket, piece: bytes, seconds: float) -> None:
        while not self._closing.is_set():
            connection.sendall(piece)
            time.sleep(seconds)


def _lying_short(connection: socket.socket) -> None:
    connection.sendall(response(picture(2), length=10_000))


def _reset(connection: socket.socket) -> None:
    connection.sendall(response(picture(2), length=10_000))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def _chunked(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


async def lookup(host: str, port: int) -> list[str]:
    """Names as DNS would resolve them: those of the server to 127.0.0.1, the rest as the system does."""
    if host in NAMES - {"absent.test"}:
        return ["127.0.0.1"]
    if host == "private.test":
        return ["93.184.215.14", "10.0.0.1"]  # one of them is enough
    if host.isdigit():
        return [socket.inet_ntoa(int(host).to_bytes(4, "big"))]
    raise socket.gaierror(socket.EAI_NONAME, "unknown")


@contextmanager
def web_server(tls: ssl.SSLContext | None = None) -> Iterator[WebServer]:
    server = WebServer(tls)
    try:
        yield server
    finally:
        server.close()
