"""Request bodies: read within limits of time and size, then parsed. Nothing is written to disk."""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pipeline.params.serve import Serve
from pipeline.service.admission import MB, BodyBytes
from pipeline.service.refusals import Refused

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_NAME_CHARACTERS = 200  # of a client's file name that are returned
_MAX_MARKS = 20_000  # structural characters of JSON; a body of nothing else would take 30 times its size in memory
_THREAD_BYTES = 2**16  # larger bodies are parsed in a thread


class DisconnectedError(Exception):
    """The client closed the connection before its request was complete."""


@dataclass(frozen=True)
class PostedPicture:
    """One picture of a request: the client's name for it, its bytes and their SHA-256."""

    name: str | None
    data: bytes
    sha256: str


class Image(BaseModel):
    """A picture in a JSON body."""

    model_config = ConfigDict(extra="forbid", strict=True)

    image: str = Field(description="the file's bytes, base64 (RFC 4648, with padding)")
    name: str | None = Field(None, description="given back with the result")


class Images(BaseModel):
    """A JSON body."""

    model_config = ConfigDict(extra="forbid", strict=True)

    images: list[Image]


async def read(receive: Receive, counted: BodyBytes, seconds: float) -> bytearray:
    """Return the body; `counted` counts its bytes as they arrive.

    Raises:
        Refused: 408 if it did not arrive within `seconds`; 413 or 429 if it is too large.
        DisconnectedError: the client closed the connection.

    """
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise DisconnectedError
                chunk = message.get("body", b"")
                counted.grow(len(chunk))
                body += chunk
                if not message.get("more_body"):
                    return body
    except TimeoutError:
        raise Refused(408, "slow", f"the body was not there within {seconds:g} s", close=True) from None


async def pictures(body: bytearray, content_type: str, limits: Serve) -> list[PostedPicture]:
    """Return the pictures of a body, in order; a large body is parsed in a thread.

    Raises:
        Refused: 400 if the body does not match its type or holds no picture; 413 if there are too many pictures, or
            one is too large.

    """
    if len(body) < _THREAD_BYTES:
        return parse(bytes(body), content_type, limits)
    return await asyncio.to_thread(lambda: parse(bytes(body), content_type, limits))


def parse(body: bytes, content_type: str, limits: Serve) -> list[PostedPicture]:
    """Return the pictures of a body, as `pictures` does."""
    kind, options = parse_options_header(content_type)
    entries = _from_json(body, limits) if kind == b"application/json" else _from_multipart(body, options, limits)
    if not entries:
        raise Refused(400, "no_pictures", "the request holds no picture")
    limit = int(limits.picture_mb * MB)
    for i, (_, data) in enumerate(entries):
        if len(data) > limit:
            raise Refused(413, "too_large", f"picture {i} has {len(data)} bytes; a picture may have {limit}")
    return [
        PostedPicture(name and name[:_NAME_CHARACTERS], data, hashlib.sha256(data).hexdigest())
        for name, data in entries
    ]


def _from_json(body: bytes, limits: Serve) -> list[tuple[str | None, bytes]]:
    if sum(body.count(mark) for mark in (b",", b"[", b"{")) > _MAX_MARKS:  # base64 has none of them
        raise Refused(400, "malformed", 'the JSON is not {"images": [{"image": base64}, ...]}')
    try:
        posted = Images.model_validate_json(body).images
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"][:4])
        reason = f"{where}: {first['msg']}" if where else first["msg"]
        raise Refused(400, "malformed", f'not {{"images": [{{"image": base64}}, ...]}}: {reason[:200]}') from None
    if len(posted) > limits.pictures:
        raise _too_many(limits)
    return [(image.name, _decoded(image.image, i)) for i, image in enumerate(posted)]


def _decoded(text: str, i: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(400, "malformed", f"images.{i}.image is not base64") from None


def _too_many(limits: Serve) -> Refused:
    return Refused(413, "too_many_pictures", f"a request may hold {limits.pictures} pictures")


@dataclass
class _Form:
    """Callbacks of the multipart parser; each part must be a file and is one picture."""

    limits: Serve
    entries: list[tuple[str | None, bytes]] = field(default_factory=list)
    ended: bool = False
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _data: bytearray = field(default_factory=bytearray)
    _name: str | None = None

    def begin(self) -> None:
        if len(self.entries) >= self.limits.pictures:
            raise _too_many(self.limits)
        self._headers.clear()
        self._data = bytearray()

    def header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def headers_end(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if kind != b"form-data" or b"filename" not in options:
            raise Refused(400, "malformed", f"part {len(self.entries)} is not a file: each part holds one picture")
        if self._headers.get(b"content-transfer-encoding", b"binary").lower() not in {b"binary", b"8bit", b"7bit"}:
            raise Refused(
                400, "malformed", f"part {len(self.entries)} has a Content-Transfer-Encoding: send plain bytes"
            )
        self._name = options[b"filename"].decode("utf-8", "replace")

    def data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def part_end(self) -> None:
        self.entries.append((self._name, bytes(self._data)))
        self._data = bytearray()

    def end(self) -> None:
        self.ended = True


def _from_multipart(body: bytes, options: dict[bytes, bytes], limits: Serve) -> list[tuple[str | None, bytes]]:
    boundary, form = options.get(b"boundary"), _Form(limits)
    if not boundary:
        raise Refused(400, "malformed", "the Content-Type of a multipart body names its boundary")
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": form.begin,
                "on_header_field": form.header,
                "on_header_value": form.value,
                "on_header_end": form.header_end,
                "on_headers_finished": form.headers_end,
                "on_part_data": form.data,
                "on_part_end": form.part_end,
                "on_end": form.end,
            },
        )
        parser.write(body)
    except FormParserError:
        raise Refused(400, "malformed", "the body is not multipart/form-data, or its boundary is another") from None
    if not form.ended:
        raise Refused(400, "malformed", "the multipart body ends before its last boundary")
    return form.entries
