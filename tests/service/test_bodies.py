import asyncio
import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.service import bodies
from pipeline.service.admission import Admission
from pipeline.service.bodies import DisconnectedError, parse
from pipeline.service.refusals import Refused
from tests.support.http_fakes import limits

LIMITS = limits(pictures=5, picture_mb=0.001, request_mb=0.01, bodies_mb=1.0)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(st.lists(st.tuples(st.none() | TEXT, st.binary(min_size=1, max_size=100)), min_size=1, max_size=5))
def test_json_comes_out_as_it_went_in(posted):
    images = [{"image": base64.b64encode(data).decode(), "name": name} for name, data in posted]
    pictures = parse(json.dumps({"images": images}).encode(), "application/json", LIMITS)
    assert [(picture.name, picture.data) for picture in pictures] == [
        (name and name[:200], data) for name, data in posted
    ]
    assert [picture.sha256 for picture in pictures] == [hashlib.sha256(data).hexdigest() for _, data in posted]


@given(
    st.lists(
        st.tuples(st.from_regex(r"[\w .é-]{1,50}", fullmatch=True), st.binary(max_size=200)), min_size=1, max_size=5
    )
)
def test_multipart_comes_out_as_it_went_in(posted):
    body = b"".join(
        b'--frontier\r\nContent-Disposition: form-data; name="i"; filename="%s"\r\n\r\n%s\r\n' % (name.encode(), data)
        for name, data in posted
    )
    pictures = parse(body + b"--frontier--\r\n", "multipart/form-data; boundary=frontier", LIMITS)
    assert [(picture.name, picture.data) for picture in pictures] == posted


def status(body: bytes, content_type: str) -> int:
    try:
        return 200 if parse(body, content_type, LIMITS) else 0
    except Refused as refused:
        return refused.status


@given(
    st.binary(max_size=300),
    st.sampled_from(["application/json", "multipart/form-data; boundary=x", "multipart/form-data; boundary=\xff"]),
)
def test_whatever_comes_is_pictures_or_a_4xx(body, content_type):
    assert status(body, content_type) in {200, 400, 413}


@given(
    st.lists(
        st.sampled_from(
            [b"--x", b"--", b"\r\n", b'Content-Disposition: form-data; filename="a"', b":", b"abc", b"\r", b"\n"]
        ),
        max_size=40,
    )
)
def test_pieces_of_multipart_are_pictures_or_a_4xx(pieces):
    assert status(b"".join(pieces), "multipart/form-data; boundary=x") in {200, 400, 413}


def test_a_picture_that_is_too_large_is_named():
    images = [{"image": base64.b64encode(b"x" * size).decode()} for size in (10, 2000)]
    with pytest.raises(Refused, match=r"413 too_large: picture 1 has 2000 bytes; a picture may have 1048"):
        parse(json.dumps({"images": images}).encode(), "application/json", LIMITS)


def receiving(*messages):
    waiting = list(messages)

    async def receive():
        if not waiting:
            await asyncio.sleep(60)
        return waiting.pop(0)

    return receive


def read(*messages, seconds=0.1):
    admission = Admission(LIMITS)

    async def run():
        with admission.counting_body() as counted:
            return await bodies.read(receiving(*messages), counted, seconds)

    try:
        return asyncio.run(run())
    finally:
        assert admission.body_bytes == 0


def chunk(data: bytes, more: bool) -> dict:
    return {"type": "http.request", "body": data, "more_body": more}


def test_a_body_is_read_in_parts():
    assert read(chunk(b"ab", True), chunk(b"", True), chunk(b"c", False)) == b"abc"


def test_a_body_that_is_late_too_large_or_abandoned_is_not_kept():
    with pytest.raises(Refused, match="408 slow") as late:
        read(chunk(b"ab", True))
    assert late.value.close
    with pytest.raises(Refused, match="413 too_large"):
        read(*[chunk(b"x" * 1000, True)] * 20)
    with pytest.raises(DisconnectedError):
        read(chunk(b"ab", True), {"type": "http.disconnect"})
