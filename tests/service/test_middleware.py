"""The outermost layer by itself: an application of a few lines, no socket, no model."""

import asyncio
import json
import logging
from types import SimpleNamespace

import pytest

from pipeline.service.admission import Admission
from pipeline.service.metrics import Metrics
from pipeline.service.middleware import CLASSIFY, RequestMiddleware
from tests.support.http_fakes import limits

FORM = [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"10")]


async def answer(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"well", "more_body": False})


@pytest.fixture
def service() -> SimpleNamespace:
    return SimpleNamespace(admission=Admission(limits(), ready=True), metrics=Metrics())


@pytest.fixture
def call(service, caplog):
    """Sends a request of two body messages through the layer; returns (messages, body messages read, log lines)."""
    caplog.set_level(logging.INFO, logger="nsfw.serve")

    def run(app, path="/healthz", method="GET", headers=(), fails=None):
        sent, read = [], []

        async def receive():
            read.append(len(read))
            return {"type": "http.request", "body": b"x" * 5, "more_body": len(read) < 2}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "path": path, "method": method, "headers": list(headers), "state": {}}
        layer = RequestMiddleware(app, service)
        if fails is None:
            asyncio.run(layer(scope, receive, send))
        else:
            with pytest.raises(fails):
                asyncio.run(layer(scope, receive, send))
        return sent, read, [record for record in caplog.records if record.getMessage() == "request"]

    return run


def head(sent) -> tuple[int, dict[bytes, bytes]]:
    return sent[0]["status"], dict(sent[0]["headers"])


def count(service, path, status) -> float:
    return service.metrics.requests.labels(path, str(status))._value.get()


def test_a_request_gets_an_id_a_line_and_a_count(call, service):
    sent, _, (line,) = call(answer)
    status, headers = head(sent)
    assert status == 200
    assert headers[b"x-request-id"].decode() == line.id
    assert (line.path, line.status) == ("/healthz", 200)
    assert count(service, "/healthz", 200) == 1


@pytest.mark.parametrize(("given", "taken"), [(b"abc-1", True), (b"a\nb", False), (b"x" * 65, False)])
def test_a_clients_own_id_is_taken_if_it_is_harmless(call, given, taken):
    sent, _, (line,) = call(answer, headers=[(b"x-request-id", given)])
    assert (head(sent)[1][b"x-request-id"] == given) is taken
    assert (line.id.encode() == given) is taken


def test_a_clients_path_is_in_no_label_and_no_line(call, service):
    _, _, (line,) = call(answer, path="/wp-admin\n")
    assert line.path == "other"
    assert count(service, "other", 200) == 1


def test_what_admission_refuses_never_reaches_the_application_and_its_body_is_drained(call, service):
    async def unreachable(scope, receive, send):
        pytest.fail("reached")

    sent, read, (line,) = call(unreachable, CLASSIFY, "POST", [(b"content-type", b"image/png"), FORM[1]])
    assert head(sent)[0] == line.status == 415
    assert json.loads(sent[1]["body"])["error"]["code"] == line.code == "content_type"
    assert len(read) == 2
    assert sent[-1]["more_body"] is False


def test_a_defect_before_the_answer_is_logged_and_left_to_the_handler_of_errors(call, caplog):
    async def breaks(scope, receive, send):
        raise ZeroDivisionError("inside")

    sent, _, (line,) = call(breaks, fails=ZeroDivisionError)
    assert sent == []
    assert (line.code, line.status) == ("defect", 0)
    assert "ZeroDivisionError" in caplog.text


def test_a_defect_after_the_head_ends_in_a_log_line(call):
    async def breaks(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError("inside")

    sent, _, (line,) = call(breaks)
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert (line.code, line.status) == ("defect", 200)


def test_a_stop_answers_503_and_passes_the_cancellation_on(call):
    async def stopped(scope, receive, send):
        raise asyncio.CancelledError

    sent, _, (line,) = call(stopped, CLASSIFY, "POST", FORM, fails=asyncio.CancelledError)
    status, headers = head(sent)
    assert (status, line.code) == (503, "shutting_down")
    assert headers[b"retry-after"] == b"5"


def test_while_draining_an_answer_closes_its_connection(call, service):
    service.admission.draining = True
    assert head(call(answer)[0])[1][b"connection"] == b"close"


def test_what_is_no_http_passes_through(service):
    reached = []

    async def app(scope, receive, send):
        reached.append(scope["type"])

    asyncio.run(RequestMiddleware(app, service)({"type": "lifespan"}, None, None))
    assert reached == ["lifespan"]
