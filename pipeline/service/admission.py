"""Who is let in, decided by a request's head alone: an overload then costs what reading a head costs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.params.serve import Serve
from pipeline.service.refusals import Refused

MB = 2**20
CONTENT_TYPES = ("multipart/form-data", "application/json")
_KEEP = 2**18  # bytes of a refused body that are cheaper to read past than a new connection


@dataclass
class Admission:
    """What the service has in hand. One event loop uses it, so nothing here takes locks.

    Attributes:
        limits: params.yaml's section serve.
        pictures: being decoded, waiting, or in the network.
        held: bytes of bodies that were read and not answered yet.
        ready: whether there is a model that is warm.
        draining: whether the service is on its way out.

    """

    limits: Serve
    pictures: int = 0
    held: int = 0
    ready: bool = False
    draining: bool = False

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Let a request in, by its head (names in lower case).

        Raises:
            Refused: 503 before the model is warm and on the way out, 415, 411 or 400 and 413 for what it says of its
                body, 429 where as much is in hand as the queue may hold.

        """
        self._check_open()
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
        if kind not in CONTENT_TYPES:
            raise Refused(415, "content_type", f"Content-Type must be {' or '.join(CONTENT_TYPES)}", close=True)
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            raise Refused(415, "content_encoding", "Content-Encoding is not taken: send the body as it is", close=True)
        length = _length(headers)
        most = int(self.limits.request_mb * MB)
        if length is not None and length > most:
            raise Refused(413, "too_large", f"the body has {length} bytes; a request may have {most}", close=True)
        # A body that is short is read past, and the connection goes on; any other is cut off.
        self.check_room(close=length is None or length > _KEEP)

    def _check_open(self) -> None:
        if self.draining:
            raise Refused(503, "shutting_down", "the service is being stopped", retry_after=5, close=True)
        if not self.ready:
            raise Refused(503, "not_ready", "the model is being loaded", retry_after=5, close=True)

    def check_room(self, *, close: bool = False) -> None:
        """Raise a 429 where the queue is full.

        A request comes in while there is room for one picture of it, or those with many would never come in.
        """
        if self.pictures >= self.limits.room:
            raise Refused(429, "busy", "as many pictures as fit are in hand", retry_after=1, close=close)

    @contextmanager
    def enter(self, pictures: int) -> Iterator[None]:
        """Count a request's pictures as being in hand.

        Raises:
            Refused: 429, the queue is full by now.

        """
        self.check_room()
        self.pictures += pictures
        try:
            yield
        finally:
            self.pictures -= pictures

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Do not count one picture as being in hand: it takes long, and waits for others that do."""
        self.pictures -= 1
        try:
            yield
        finally:
            self.pictures += 1

    @contextmanager
    def holding(self) -> Iterator["Held"]:
        """Count the bytes of one body, as they arrive."""
        held = Held(self)
        try:
            yield held
        finally:
            self.held -= held.bytes


@dataclass
class Held:
    """The bytes of one body."""

    admission: Admission
    bytes: int = 0

    def grow(self, size: int) -> None:
        """Count `size` more.

        Raises:
            Refused: 413, this body is too large; 429, all of them together are.

        """
        self.bytes += size
        self.admission.held += size
        limits = self.admission.limits
        if self.bytes > (most := int(limits.request_mb * MB)):
            raise Refused(413, "too_large", f"the body has more than {most} bytes", close=True)
        if self.admission.held > limits.bodies_mb * MB:
            raise Refused(429, "busy", "the bodies in hand take all the memory there is", retry_after=1, close=True)


def _length(headers: Mapping[bytes, bytes]) -> int | None:
    """Return Content-Length; None for a chunked body."""
    said = headers.get(b"content-length", b"").strip()
    if not said and b"transfer-encoding" not in headers:
        raise Refused(411, "no_length", "the request has no body, or does not say how long it is", close=True)
    if b"transfer-encoding" in headers:
        if said:  # two lengths: what is between us and the client may believe the other one
            raise Refused(400, "malformed", "Content-Length and Transfer-Encoding exclude each other", close=True)
        return None
    if not said.isdigit() or len(said) > 18:
        raise Refused(400, "malformed", "Content-Length is no number", close=True)
    return int(said)
