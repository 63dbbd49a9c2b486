"""Served pages: foreign hosts, cross-site writes, stolen tokens and long bodies are refused; headers everywhere."""

from pathlib import Path

import pytest
from fastapi import HTTPException, Request
from fastapi.responses import Response
from fastapi.testclient import TestClient

from pipeline.core.errors import UserError
from pipeline.pages import serving, sessions
from pipeline.pages.assets_route import Assets
from pipeline.pages.hosts import AllowedHosts, is_loopback

EVERYWHERE = "0.0.0.0"  # noqa: S104
ORIGIN = {"origin": "http://127.0.0.1:8001"}


@pytest.fixture
def guard(tmp_path: Path) -> sessions.Sessions:
    return sessions.Sessions(sessions.load_key(tmp_path / "key"), "nsfw_test")


@pytest.fixture
def client(guard: sessions.Sessions) -> TestClient:
    app = serving.application("test", AllowedHosts.of("127.0.0.1"), Assets.of())

    @app.get("/")
    async def page(request: Request) -> Response:
        session = guard.of(request) or sessions.Session.new("ada")
        response = Response(guard.csrf_token(session))
        guard.write(response, session)
        return response

    @app.post("/")
    async def write(request: Request) -> Response:
        session = guard.of(request)
        if session is None:
            raise HTTPException(401)
        guard.check(request, session)
        return Response(f"{session.name}: {len(await serving.read_body(request, 10))}")

    @app.get("/mistake")
    async def mistake() -> Response:
        raise UserError("params.yaml is wrong")

    return TestClient(app, base_url="http://127.0.0.1:8001")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost:1@evil.example", "", "[::1", "a b"]
)
def test_a_foreign_host_is_refused(client, host):
    answer = client.get("/", headers={"host": host})
    assert answer.status_code == 403
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize("host", ["127.0.0.1:8001", "localhost", "LOCALHOST:9", "[::1]:8001"])
def test_names_of_loopback_are_answered(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


def test_two_host_headers_are_refused(client):
    assert client.get("/", headers=[("host", "localhost"), ("host", "evil.example")]).status_code == 403


@pytest.mark.parametrize(
    "origin",
    [None, "null", "http://evil.example", "http://127.0.0.1:9", "http://127.0.0.1:8001.evil.example", "file://"],
)
def test_a_write_from_another_site_is_refused(client, origin):
    token = client.get("/").text
    headers = {"x-csrf-token": token} | ({"origin": origin} if origin else {})
    assert client.post("/", headers=headers).status_code == 403
    assert client.post("/", headers={"x-csrf-token": token} | ORIGIN).status_code == 200


def test_a_token_is_of_its_session_alone(client, guard):
    client.get("/")
    other = guard.csrf_token(sessions.Session.new("eve"))
    assert client.post("/", headers={"x-csrf-token": other} | ORIGIN).status_code == 403
    assert client.post("/", headers=ORIGIN).status_code == 403
    assert client.post("/", headers={"x-csrf-token": "é".encode()} | ORIGIN).status_code == 403


def test_a_cookie_that_the_key_did_not_sign_is_none(client, guard):
    token = client.get("/").text
    value = client.cookies["nsfw_test"]
    for forged in (
        value[:-1] + ("0" if value[-1] != "0" else "1"),
        "W10=." + value.rpartition(".")[2],
        "x",
        "." * 3000,
    ):
        client.cookies.set("nsfw_test", forged)
        assert client.post("/", headers={"x-csrf-token": token} | ORIGIN).status_code == 401


def test_a_session_outlives_a_restart_and_its_cookie_is_strict(client, tmp_path):
    answer = client.get("/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    again = sessions.Sessions(sessions.load_key(tmp_path / "key"), "nsfw_test")
    request = Request({"type": "http", "headers": [(b"cookie", f"nsfw_test={client.cookies['nsfw_test']}".encode())]})
    assert again.of(request).name == "ada"
    assert again.csrf_token(again.of(request)) == answer.text
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_damaged_key_is_named(tmp_path):
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(UserError, match="key"):
        sessions.load_key(tmp_path / "key")


def test_a_long_body_is_refused(client):
    headers = {"x-csrf-token": client.get("/").text} | ORIGIN
    assert client.post("/", headers=headers, content=b"0123456789").text == "ada: 10"
    assert client.post("/", headers=headers, content=b"0123456789x").status_code == 413


def test_answers_carry_the_headers_and_assets_are_kept_for_ever(client):
    headers = client.get("/").headers
    assert "'unsafe" not in headers["content-security-policy"]
    assert "script-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    style = Assets.of().url("style.css")
    answer = client.get(style)
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"].startswith("text/css")
    assert client.get("/assets/style.css").status_code == 404
    assert client.get("/assets/..%2f..%2fparams.yaml").status_code == 404


def test_a_mistake_of_a_user_is_one_line(client):
    answer = client.get("/mistake")
    assert (answer.status_code, answer.text) == (409, "params.yaml is wrong\n")


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        (EVERYWHERE, False),
        ("10.1.2.3", False),
        ("example.org", False),
    ],
)
def test_loopback(host, alone):
    assert is_loopback(host) is alone


def test_a_server_of_every_address_answers_to_addresses_and_its_own_name_only():
    hosts = AllowedHosts.of(EVERYWHERE, "review.example.org")
    assert hosts.allow("10.1.2.3:8001")
    assert hosts.allow("[fe80::1]")
    assert hosts.allow("review.example.org")
    assert not hosts.allow("evil.example")


def test_a_port_that_is_taken_is_named():
    taken = serving.listen("127.0.0.1", 0)
    with taken, pytest.raises(UserError, match="--port"):
        serving.listen("127.0.0.1", taken.getsockname()[1])
