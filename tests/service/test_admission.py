import pytest

from pipeline.service.admission import MB, Admission
from pipeline.service.refusals import Refused, answer
from tests.support.http_fakes import limits

GOOD = {b"content-type": b"multipart/form-data; boundary=x", b"content-length": b"1000"}


def admission(**more) -> Admission:
    return Admission(limits(**more), ready=True)


def refused(check, *arguments, **named) -> Refused:
    with pytest.raises(Refused) as caught:
        check(*arguments, **named)
    return caught.value


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({b"content-type": b"image/png"}, 415, "content_type"),
        ({b"content-type": b"\xff\xfe"}, 415, "content_type"),
        ({b"content-type": b""}, 415, "content_type"),
        ({b"content-encoding": b"gzip"}, 415, "content_encoding"),
        ({b"content-length": b"2147483648"}, 413, "too_large"),
        ({b"content-length": b"-1"}, 400, "malformed"),
        ({b"content-length": b"\xb2"}, 400, "malformed"),
        ({b"content-length": b"9" * 5000}, 400, "malformed"),
        ({b"transfer-encoding": b"chunked"}, 400, "malformed"),
        ({b"content-length": b""}, 411, "no_length"),
    ],
)
def test_a_head_that_is_not_served(more, status, code):
    refusal = refused(admission().check, GOOD | more)
    assert (refusal.status, refusal.code, refusal.close) == (status, code, True)


def test_a_head_that_is_served():
    admission().check(GOOD)
    admission().check(GOOD | {b"content-type": b"Application/JSON; charset=utf-8", b"content-encoding": b"Identity"})
    admission().check({b"content-type": b"application/json", b"transfer-encoding": b"chunked"})


def test_before_and_after_its_life_a_service_says_when_to_come_back():
    waiting, leaving = admission(), admission()
    waiting.ready, leaving.draining = False, True
    for one, code in ((waiting, "not_ready"), (leaving, "shutting_down")):
        refusal = refused(one.check, GOOD)
        assert (refusal.status, refusal.code, refusal.retry_after) == (503, code, 5)


def test_the_queue_takes_a_request_while_there_is_room_for_one_picture_and_counts_all_of_it():
    one = admission(queue=4)
    with one.enter(3):
        with one.enter(16):
            refusal = refused(one.check, GOOD)
            assert (refusal.status, refusal.code, refusal.retry_after, refusal.close) == (429, "busy", 1, False)
            assert refused(one.check, GOOD | {b"content-length": b"1000000"}).close  # not worth reading past
            with pytest.raises(Refused), one.enter(1):
                pass
        one.check(GOOD)
    assert one.pictures == 0


def test_bodies_are_counted_one_by_one_and_together():
    one = admission(request_mb=20.0, bodies_mb=30.0)
    with one.counting_body() as first, one.counting_body() as second:
        first.grow(20 * MB)
        assert refused(first.grow, 1).status == 413
        second.grow(9 * MB)
        refusal = refused(second.grow, MB)
        assert (refusal.status, refusal.retry_after, refusal.close) == (429, 1, True)
    assert one.body_bytes == 0


def test_a_refusal_says_what_and_when_and_nothing_else():
    response = Refused(429, "busy", "later", retry_after=3, close=True).response()
    assert (response.status_code, response.body) == (429, b'{"error": {"code": "busy", "detail": "later"}}')
    assert (response.headers["retry-after"], response.headers["connection"]) == ("3", "close")


def test_names_that_utf_8_cannot_hold_are_escaped():
    assert answer({"name": "\ud800\n<b>"}).body == b'{"name": "\\ud800\\n<b>"}'
