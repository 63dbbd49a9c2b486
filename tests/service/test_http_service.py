import base64
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from multiprocessing import active_children

import httpx
import pytest

from tests.support.http_fakes import Model, Source, metric, picture, serving

WHITE, BLACK = picture(255), picture(0)


@pytest.fixture(scope="module")
def service():
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(patch, seconds=0.6, quick_seconds=0.2, body_seconds=1.5, header_seconds=1.0, queue=40) as run,
    ):
        yield run


def post(run, *contents, **more):
    files = [("image", (f"{i}.png", content)) for i, content in enumerate(contents)]
    return httpx.post(f"{run.url}/v1/classify", files=files, timeout=30, **more)


def post_json(run, document, **more):
    content = document if isinstance(document, bytes) else json.dumps(document)
    return httpx.post(f"{run.url}/v1/classify", content=content, headers={"content-type": "application/json"}, **more)


def code(response) -> str:
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"error"}
    return response.json()["error"]["code"]


def test_one_picture(service):
    answer = post(service, WHITE)
    assert answer.status_code == 200
    document = answer.json()
    (result,) = document["pictures"]
    assert document["model"] == {"name": "nsfw", "version": "1"}
    assert document["request_id"] == answer.headers["x-request-id"]
    assert result["probabilities"] == {"bright": 1.0, "dark": 0.0}
    assert (result["unsafe"], result["threshold"], result["decision"]) == (1.0, 0.5, "unsafe")
    assert (result["name"], result["error"], len(result["sha256"])) == ("0.png", None, 64)


def test_both_ways_to_send_pictures_give_the_same(service):
    there = {"images": [{"name": "0.png", "image": base64.b64encode(BLACK).decode()}]}
    assert post_json(service, there).json()["pictures"] == post(service, BLACK).json()["pictures"]


def test_a_bad_picture_has_its_error_in_its_place(service):
    answer = post(service, WHITE, b"rubbish", BLACK)
    assert answer.status_code == 200
    decisions = [
        (result["decision"], result["error"] and result["error"]["code"]) for result in answer.json()["pictures"]
    ]
    assert decisions == [("unsafe", None), (None, "not_a_picture"), ("safe", None)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"rubbish", "not_a_picture"),
        (b"", "not_a_picture"),
        (b"hang", "timeout"),
        (b"crash", "crashed"),
        (b"hog", "memory"),
        (b"defect", "crashed"),
    ],
)
def test_a_request_with_nothing_but_bad_pictures_is_a_422_and_the_service_goes_on(service, content, reason):
    begun = time.monotonic()
    answer = post(service, content)
    assert (answer.status_code, answer.json()["pictures"][0]["error"]["code"]) == (422, reason)
    assert answer.json()["pictures"][0]["probabilities"] is None
    assert post(service, WHITE).status_code == 200
    assert time.monotonic() - begun < 6.0


def test_a_picture_whose_workers_are_killed_from_outside_is_to_be_sent_again(service):
    answer = post(service, b"killed")
    assert (answer.status_code, code(answer), answer.headers["retry-after"]) == (503, "unavailable", "2")
    beside = post(service, b"killed", WHITE)
    assert (beside.status_code, beside.json()["pictures"][0]["error"]["code"]) == (200, "unavailable")
    assert beside.json()["pictures"][1]["decision"] == "unsafe"
    assert metric(service, 'nsfw_pictures_total{outcome="unavailable"}') == 2


def test_a_worker_that_is_killed_once_costs_its_picture_nothing(service):
    for _ in range(3):
        for worker in active_children():
            worker.kill()
        assert post(service, WHITE).status_code == 200
    statuses = []
    with ThreadPoolExecutor() as pool:
        while len(statuses) < 3 and 200 not in statuses:  # on a busy machine its second worker may be hit as well
            heavy = pool.submit(post, service, b"slow")
            time.sleep(0.25)
            for worker in active_children():
                worker.kill()
            statuses.append(heavy.result().status_code)
    assert 200 in statuses


def test_a_picture_that_takes_longer_than_most_has_its_answer_all_the_same(service):
    assert post(service, b"heavy").status_code == 200
    assert service.service.admission.pictures == 0


def test_a_picture_that_cost_its_workers_is_known_for_a_while(service):
    assert post(service, b"hang, known").json()["pictures"][0]["error"]["code"] == "timeout"
    begun = time.monotonic()
    assert post(service, b"hang, known").json()["pictures"][0]["error"]["code"] == "timeout"
    assert time.monotonic() - begun < 2.0  # a picture that hangs costs 5 s and more


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"images": 1}', b'{"images": [1]}', b'{"images": [{}]}',
        b'{"images": [{"image": 5}]}', b'{"images": [{"image": "%%%"}]}', b'{"images": [{"image": "YQ"}]}',
        b'{"images": [{"image": "YQ==", "more": 1}]}', b'{"images": [], "more": 1}', b"[" * 100_000,
        b'{"images": ' * 5000, b'{"images": [{"image": "YQ==", "name": "\\ud800"}]}', b"9" * 10_000,
        b'{"images": [' + b"{}," * 40_000 + b"{}]}", b'{"images": []}', b"NaN",
    ],
)  # fmt: skip
def test_malformed_json_is_a_400(service, body):
    answer = post_json(service, body)
    assert answer.status_code == (411 if False else 400)
    assert code(answer) in {"malformed", "no_pictures"}
    assert len(answer.content) < 600


def multipart(service, body: bytes, content_type="multipart/form-data; boundary=x"):
    return httpx.post(f"{service.url}/v1/classify", content=body, headers={"content-type": content_type})


PART = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


@pytest.mark.parametrize(
    "body",
    [
        b"rubbish", b"--x", b"--x--", b"--x--\r\n", PART, PART + WHITE, PART + WHITE + b"\r\n--y--",
        b"--x\r\n\r\n\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nabc\r\n--x--\r\n',
        b"--x\r\n" + b"a: b\r\n" * 100 + b"\r\n\r\n--x--\r\n", b"--x\r\n" + b"a" * 10_000 + b": b\r\n\r\n\r\n--x--\r\n",
        PART[:-2] + b"Content-Transfer-Encoding: base64\r\n\r\nYQ==\r\n--x--\r\n",
    ],
)  # fmt: skip
def test_malformed_multipart_is_a_400(service, body):
    assert multipart(service, body).status_code == 400


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 1000],
)
def test_a_boundary_that_is_none(service, content_type):
    assert multipart(service, PART + WHITE + b"\r\n--x--\r\n", content_type).status_code == 400


def test_hostile_names_come_back_as_plain_text(service):
    name = b"<script>\xff\xe2\x80\xae" + b"n" * 5000
    body = PART.replace(b"a.png", name[:1000]) + WHITE + b"\r\n--x--\r\n"
    answer = multipart(service, body)
    assert answer.status_code == 200
    assert (
        answer.json()["pictures"][0]["name"]
        == (b"<script>\xff\xe2\x80\xae" + b"n" * 1000).decode("utf-8", "replace")[:200]
    )
    answer.content.decode("ascii")


def test_too_many_pictures_and_too_large_ones(service):
    assert code(post(service, *[BLACK] * 17)) == "too_many_pictures"
    assert code(post(service, b"x" * (16 * 2**20 + 1))) == "too_large"
    many = PART + b"\r\n" + (b"--x\r\n" + PART[5:] + b"\r\n") * 5000 + b"--x--\r\n"
    assert code(multipart(service, many)) == "too_many_pictures"


def test_content_types_and_encodings_that_are_not_taken(service):
    url = f"{service.url}/v1/classify"
    assert code(httpx.post(url, content=WHITE, headers={"content-type": "image/png"})) == "content_type"
    assert code(httpx.post(url, content=WHITE)) == "content_type"
    gzip = {"content-type": "application/json", "content-encoding": "gzip"}
    assert code(httpx.post(url, content=b"{}", headers=gzip)) == "content_encoding"


def test_paths_and_methods_that_there_are_not(service):
    assert code(httpx.get(f"{service.url}/nowhere")) == "no_such_path"
    assert code(httpx.get(f"{service.url}/v1/classify")) == "method"
    for path in ("/docs", "/redoc", "/v1/classify/"):
        assert httpx.get(service.url + path).status_code == 404


def test_states(service):
    assert httpx.get(f"{service.url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{service.url}/readyz").json() == {"status": "ready", "model": "nsfw", "version": "1"}


def test_openapi_tells_all(service):
    document = httpx.get(f"{service.url}/openapi.json").json()
    classify = document["paths"]["/v1/classify"]["post"]
    assert set(classify["responses"]) == {"200", "400", "408", "411", "413", "415", "422", "429", "500", "503"}
    assert set(classify["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert "HTTPValidationError" not in json.dumps(document)
    example = classify["requestBody"]["content"]["application/json"]["example"]
    answer = httpx.post(f"{service.url}/v1/classify", json=example)
    assert (answer.status_code, len(answer.json()["pictures"])) == (200, 1)


def slow_reader(port: int) -> socket.socket:
    """A connection with a tiny buffer that sends many requests and reads no answer."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.connect(("127.0.0.1", port))
    connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 300)
    return connection


def answered(run) -> bool:
    try:
        return post(run, WHITE).status_code == 200
    except httpx.TransportError:
        return False


def test_those_who_do_not_read_their_answers_lock_nobody_out(monkeypatch):
    with serving(monkeypatch, connections=40, answer_seconds=3.0) as run, ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(slow_reader(run.port))
        time.sleep(2.5)
        begun = time.monotonic()
        while not answered(run):  # refused while the slow ones hold every connection, for `answer_seconds` at most
            assert time.monotonic() - begun < 10.0  # 20 s and more if no connection is aborted
            time.sleep(0.1)
        assert time.monotonic() - begun < 10.0
        end = time.monotonic() + 30
        while len(run.server.server_state.connections) > 5 and time.monotonic() < end:
            time.sleep(0.1)
        assert len(run.server.server_state.connections) <= 5


def test_an_idle_connection_makes_room_for_a_new_one(monkeypatch):
    with serving(monkeypatch, connections=20) as run, ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(socket.create_connection(("127.0.0.1", run.port), timeout=5))
        time.sleep(1.2)
        for _ in range(3):
            assert post(run, WHITE).status_code == 200


def talk(service, *parts, pause=0.0, wait=8.0) -> tuple[bytes, float]:
    """Send parts with pauses over a plain socket; return the answer, and the seconds until the server closed it."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", service.port), timeout=wait) as connection:
        got = b""
        with suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        with suppress(ConnectionError):
            while data := connection.recv(65536):
                got += data
        return got, time.monotonic() - begun


HEAD = b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\n"


def test_two_gigabytes_are_refused_by_their_length_alone(service):
    before = service.service.admission.body_bytes
    got, seconds = talk(service, HEAD + b"Content-Length: 2147483648\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in got
    assert seconds < 3.0
    assert service.service.admission.body_bytes == before


def test_a_chunked_body_is_cut_off_where_it_grows_too_large(service):
    chunk = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
    got, _ = talk(service, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 34)
    assert got.startswith(b"HTTP/1.1 413 ")
    assert service.service.admission.body_bytes == 0


def test_a_client_that_waits_for_100_continue_is_refused_before_it_sends(service):
    got, seconds = talk(service, HEAD + b"Expect: 100-continue\r\nContent-Length: 2147483648\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 413 ")
    assert seconds < 0.5


def test_a_body_that_trickles_is_a_408(service):
    got, seconds = talk(service, HEAD + b"Content-Length: 100\r\n\r\n", *[b"x"] * 8, pause=0.3)
    assert got.startswith(b"HTTP/1.1 408 ")
    assert seconds < 4.0
    assert service.service.admission.body_bytes == 0


def test_a_head_that_trickles_is_a_408(service):
    got, seconds = talk(service, HEAD, *[b"a: b\r\n"] * 8, pause=0.3)
    assert got.startswith(b"HTTP/1.1 408 ")
    assert seconds < 4.0


def test_a_second_request_on_a_connection_may_not_dawdle_either(service):
    got, seconds = talk(service, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", *[b"G"] * 8, pause=0.3)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in got
    assert seconds < 4.0


def test_a_connection_that_says_nothing_is_closed(service):
    assert talk(service)[1] < 2.0


@pytest.mark.parametrize(
    "head",
    [
        b"\x16\x03\x01\x02\x00\x01\x00", b"POST /v1/classify HTTP/1.1\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n", HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"a: " + b"b" * 50_000 + b"\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n", HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
    ],
)  # fmt: skip
def test_heads_that_are_no_http_are_a_4xx(service, head):
    got, _ = talk(service, head, wait=6.0)
    assert got.startswith(b"HTTP/1.1 4")
    assert b"Traceback" not in got


def test_requests_in_one_line_are_answered_in_order(service):
    head = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-Id: n%d\r\n\r\n"
    got, _ = talk(service, b"".join(head % number for number in range(5)))
    assert [got.index(b"n%d" % number) for number in range(5)] == sorted(
        got.index(b"n%d" % number) for number in range(5)
    )


@pytest.mark.parametrize(
    ("sent", "is_returned"), [("abc-1.2_3", True), ("a" * 65, False), ("a b", False), ('a"', False), ("", False)]
)
def test_a_request_id_is_the_clients_where_it_is_sane(service, sent, is_returned):
    answer = httpx.get(f"{service.url}/healthz", headers={"x-request-id": sent})
    assert (answer.headers["x-request-id"] == sent) is is_returned
    assert answer.headers["x-request-id"]


def test_requests_of_many_share_batches(monkeypatch):
    source = Source(Model(seconds=0.05))
    with serving(monkeypatch, source, queue=100, workers=2) as run, ThreadPoolExecutor(20) as pool:
        source.now.batches.clear()
        answers = list(pool.map(lambda n: post(run, picture(5 * n)).json()["pictures"][0], range(40)))
        assert [round(answer["unsafe"] * 255) for answer in answers] == [5 * n for n in range(40)]
        assert max(source.now.batches) > 4
        assert metric(run, "nsfw_batch_pictures_sum") == 40
        assert (
            metric(run, 'nsfw_pictures_total{outcome="unsafe"}') + metric(run, 'nsfw_pictures_total{outcome="safe"}')
            == 40
        )
        assert metric(run, 'nsfw_requests_total{path="/v1/classify",status="200"}') == 40


def test_what_does_not_fit_is_told_so_at_once_and_the_connection_goes_on(monkeypatch):
    source = Source(Model(seconds=0.3))
    with serving(monkeypatch, source, queue=2, batch=1) as run, ThreadPoolExecutor(12) as pool:

        def ask(_):
            begun = time.monotonic()
            answer = post(run, WHITE)
            return answer.status_code, time.monotonic() - begun, answer

        answers = list(pool.map(ask, range(12)))
        refused = [(seconds, answer) for status, seconds, answer in answers if status == 429]
        assert 8 <= len(refused) <= 10
        assert {status for status, *_ in answers} == {200, 429}
        assert all(answer.headers["retry-after"] == "1" and "connection" not in answer.headers for _, answer in refused)
        assert run.service.admission.pictures == 0
        assert post(run, WHITE).status_code == 200


def test_a_request_with_many_gets_in_where_there_is_room_for_one(monkeypatch):
    with serving(monkeypatch, queue=1) as run:
        assert post(run, *[WHITE] * 16).status_code == 200


def test_a_promotion_loses_no_request_and_each_names_its_model(monkeypatch):
    source = Source(Model("1", seconds=0.01))
    with serving(monkeypatch, source, queue=100) as run, ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(lambda: [post(run, WHITE, BLACK) for _ in range(40)]) for _ in range(4)]
        time.sleep(0.3)
        source.now = Model("2", size=8, seconds=0.01)
        answers = [answer for future in futures for answer in future.result()]
        assert {answer.status_code for answer in answers} == {200}
        versions = [answer.json()["model"]["version"] for answer in answers]
        assert set(versions) == {"1", "2"}
        assert metric(run, 'nsfw_model_info{model="nsfw",version="2"}') == 1
        assert metric(run, 'nsfw_reloads_total{outcome="ok"}') == 2


def test_a_model_that_fails_its_check_is_refused_and_the_old_one_goes_on(monkeypatch):
    source = Source(Model("1"))
    with serving(monkeypatch, source) as run:
        source.now = Model("2", bad="nan")
        time.sleep(0.5)
        assert post(run, WHITE).json()["model"]["version"] == "1"
        assert metric(run, 'nsfw_reloads_total{outcome="refused"}') >= 1
        assert httpx.get(f"{run.url}/readyz").status_code == 200
        source.down = True
        time.sleep(0.3)
        assert httpx.get(f"{run.url}/readyz").status_code == 200
        assert metric(run, "nsfw_registry_age_seconds") > 0.1
        assert metric(run, 'nsfw_registry_polls_total{outcome="failed"}') >= 1


def test_nothing_to_serve_ends_it(monkeypatch):
    with pytest.raises((AssertionError, httpx.TransportError)):  # noqa: SIM117
        with serving(monkeypatch, Source(Model(bad="sum"))):
            pass


def test_a_stop_finishes_what_was_accepted_and_takes_no_more(monkeypatch):
    model = Model()
    with serving(monkeypatch, Source(model), batch=1, queue=50) as run, ThreadPoolExecutor(10) as pool:
        model.released = threading.Event()
        futures = [pool.submit(post, run, WHITE) for _ in range(10)]
        while metric(run, "nsfw_queue_pictures") < 9:  # beside the one in the network
            time.sleep(0.05)
        run.server.handle_exit(15, None)
        late = post(run, WHITE)
        assert (late.status_code, code(late), late.headers["retry-after"]) == (503, "shutting_down", "5")
        assert httpx.get(f"{run.url}/readyz").status_code == 503
        model.released.set()
        assert [future.result().status_code for future in futures] == [200] * 10
        run.thread.join(10)
        assert run.problem == ""


def test_a_log_line_tells_of_a_request_and_never_of_its_names(monkeypatch, caplog):
    with serving(monkeypatch) as run, caplog.at_level("INFO", "nsfw.serve"):
        httpx.post(
            f"{run.url}/v1/classify", files={"image": ("secret-name.png", WHITE)}, headers={"x-request-id": "mine"}
        )
        httpx.get(f"{run.url}/secret-path")
    (record,) = [record for record in caplog.records if getattr(record, "id", "") == "mine"]
    assert (record.status, record.pictures, record.version, record.outcomes) == (200, 1, "1", {"unsafe": 1})
    assert "secret" not in " ".join(str(record.__dict__) for record in caplog.records if record.name == "nsfw.serve")
