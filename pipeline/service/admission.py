"""Which requests are admitted. The head of a request decides, so refusing one costs no more than reading its head."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.params.serve import Serve
from pipeline.service.refusals import Refused

MB = 2**20
CONTENT_TYPES = ("multipart/form-data", "application/json")
_SHORT_BODY = 2**18  # bytes; reading past a refused body up to this size is cheaper than a new connection


@dataclass
class Admission:
    """The pictures and bytes that the service is working on. Used by one event loop only, so it needs no locks.

    Attributes:
        limits: params.yaml's section serve.
        pictures: number that are being decoded, waiting, or in the network.
        body_bytes: bytes of request bodies that have been read and not answered yet.
        ready: whether a model is loaded and warmed up.
        draining: whether the service is shutting down.

    """

    limits: Serve
    pictures: int = 0
    body_bytes: int = 0
    ready: bool = False
    draining: bool = False

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Admit a request by its head.

        Args:
            headers: of the request; names in lower case.

        Raises:
            Refused: 503 before the model is warm and during shutdown; 415, 411, 400 or 413 for what the head declares
                about the body; 429 if the queue is full.

        """
        self._check_open()
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
        if kind not in CONTENT_TYPES:
            raise Refused(415, "content_type", f"Content-Type must be {' or '.join(CONTENT_TYPES)}", close=True)
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            raise Refused(415, "content_encoding", "Content-Encoding is not taken: send the body as it is", close=True)
        length = _length(headers)
        limit = int(self.limits.request_mb * MB)
        if length is not None and length > limit:
            raise Refused(413, "too_large", f"the body has {length} bytes; a request may have {limit}", close=True)
        # A short body is read and discarded so that the connection can be reused; any other closes the connection.
        self.check_room(close=length is None or length > _SHORT_BODY)

    def _check_open(self) -> None:
        if self.draining:
            raise Refused(503, "shutting_down", "the service is being stopped", retry_after=5, close=True)
        if not self.ready:
            raise Refused(503, "not_ready", "the model is being loaded", retry_after=5, close=True)

    def check_room(self, *, close: bool = False) -> None:
        """Raise a 429 if the queue is full.

        Room for one picture is enough, whatever number the request holds; otherwise large requests would starve.
        """
        if self.pictures >= self.limits.capacity:
            raise Refused(429, "busy", "as many pictures as fit are in hand", retry_after=1, close=close)

    @contextmanager
    def enter(self, pictures: int) -> Iterator[None]:
        """Count a request's pictures as being in hand while the context lasts.

        Raises:
            Refused: 429, the queue has filled up in the meantime.

        """
        self.check_room()
        self.pictures += pictures
        try:
            yield
        finally:
            self.pictures -= pictures

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Exclude one picture from the count: it is slow, and waits behind other slow ones."""
        self.pictures -= 1
        try:
            yield
        finally:
            self.pictures += 1

    @contextmanager
    def counting_body(self) -> Iterator["BodyBytes"]:
        """Yield a counter for the bytes of one body; they stop counting when the context ends."""
        body = BodyBytes(self)
        try:
            yield body
        finally:
            self.body_bytes -= body.bytes


@dataclass
class BodyBytes:
    """The bytes of one request body that have arrived so far."""

    admission: Admission
    bytes: int = 0

    def grow(self, size: int) -> None:
        """Count `size` more bytes.

        Raises:
            Refused: 413 if this body is too large, 429 if all bodies together are.

        """
        self.bytes += size
        self.admission.body_bytes += size
        limits = self.admission.limits
        if self.bytes > (limit := int(limits.request_mb * MB)):
            raise Refused(413, "too_large", f"the body has more than {limit} bytes", close=True)
        if self.admission.body_bytes > limits.advanced.bodies_mb * MB:
            raise Refused(429, "busy", "the bodies in hand take all the memory there is", retry_after=1, close=True)


def _length(headers: Mapping[bytes, bytes]) -> int | None:
    """Return the Content-Length in bytes, or None for a chunked body.

    Raises:
        Refused: 411 if the length is missing, 400 if it is invalid.

    """
    declared = headers.get(b"content-length", b"").strip()
    if not declared and b"transfer-encoding" not in headers:
        raise Refused(411, "no_length", "the request has no body, or does not say how long it is", close=True)
    if b"transfer-encoding" in headers:
        if declared:  # a proxy in between might rely on the other one (request smuggling)
            raise Refused(400, "malformed", "Content-Length and Transfer-Encoding exclude each other", close=True)
        return None
    if not declared.isdigit() or len(declared) > 18:
        raise Refused(400, "malformed", "Content-Length is no number", close=True)
    return int(declared)
