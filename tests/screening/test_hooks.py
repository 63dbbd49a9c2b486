"""Hooks answer yes or no; anything else is a failure, and a failure is never a no."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipeline.params.screens import ScreenHook
from pipeline.screening import hooks
from pipeline.screening.hooks import Answer, HookError
from tests.support.screens import ANSWERS_BY_SIZE, command


def ask(code: str, data: bytes = b"a picture", seconds: float = 5.0) -> Answer:
    return hooks.ask(ScreenHook(name="photo", command=tuple(command(code))), data, seconds)


def test_a_command_gets_the_bytes_and_answers():
    assert ask(ANSWERS_BY_SIZE) == Answer(match=False, entry="case 7")
    assert ask(ANSWERS_BY_SIZE, b"x" * 2**20 + b"EVIL") == Answer(match=True, entry="case 7")


def test_a_command_need_not_read_the_bytes():
    assert ask("print('{\"match\": true}')", b"x" * 2**22) == Answer(match=True, entry="")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("pass", "its answer is not"),
        ("print('no')", "its answer is not"),
        ("print('{\"match\": 0}')", "its answer is not"),
        ("print('{}')", "its answer is not"),
        ("print('{\"match\": false}'); raise SystemExit(3)", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "exit code -9"),
        ("print('x' * 10**6)", "more than 65536 bytes"),
    ],
)
def test_what_is_no_answer_is_a_failure(code, reason):
    with pytest.raises(HookError, match=reason):
        ask(code)


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])",
        "import sys, time\nwhile True: print(' ', end='', flush=True); time.sleep(0.05)",
    ],
)
def test_a_command_that_takes_too_long_is_ended_with_its_children(code):
    begun = time.monotonic()
    with pytest.raises(HookError, match=r"no answer within 0.5 s"):
        ask(code, seconds=0.5)
    assert time.monotonic() - begun < 5


def test_a_command_that_does_not_exist():
    with pytest.raises(HookError, match="/nowhere/hook cannot be started"):
        hooks.ask(ScreenHook(name="photo", command=("/nowhere/hook",)), b"", 1.0)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, dict(self.headers), body))
        status, answer = {
            "/yes": (200, json.dumps({"match": True, "entry": "42"}).encode()),
            "/no": (200, b'{"match": false}'),
            "/away": (302, b""),
            "/down": (503, b'{"match": false}'),
            "/long": (200, b" " * 2**20),
            "/html": (200, b"<html>"),
        }.get(self.path, (200, b""))
        if self.path == "/slow":
            time.sleep(3)
        self.send_response(status)
        self.send_header("Location", "/no")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    running = HTTPServer(("127.0.0.1", 0), Handler)
    running.seen = []
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()


def post(server, path: str, seconds: float = 5.0, **more: object) -> Answer:
    hook = ScreenHook(name="photo", url=f"http://127.0.0.1:{server.server_port}/{path}", **more)
    return hooks.ask(hook, b"a picture", seconds)


def test_an_address_gets_the_bytes_and_the_token_and_answers(server, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret\n", encoding="ascii")
    assert post(server, "yes", token_file=str(token)) == Answer(match=True, entry="42")
    path, headers, body = server.seen[-1]
    assert (path, headers["Authorization"], body) == ("/yes", "Bearer s3cret", b"a picture")
    assert post(server, "no") == Answer(match=False, entry="")


@pytest.mark.parametrize(
    ("path", "reason"),
    [("away", "status 302"), ("down", "status 503"), ("long", "more than"), ("html", "not"), ("empty", "not")],
)
def test_an_address_that_gives_no_answer_is_a_failure(server, path, reason):
    with pytest.raises(HookError, match=reason):
        post(server, path)


def test_an_address_that_is_slow_or_not_there_is_a_failure(server, monkeypatch):
    with pytest.raises(HookError, match=r"no answer within 0.3 s"):
        post(server, "slow", 0.3)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(HookError, match="no answer"):
        hooks.ask(ScreenHook(name="photo", url="http://127.0.0.1:1/yes"), b"", 2.0)


def test_a_token_file_that_is_not_there_is_a_failure(server):
    with pytest.raises(HookError, match="token_file /nowhere cannot be read"):
        post(server, "yes", token_file="/nowhere")  # noqa: S106 -- no password
    assert not Path("/nowhere").exists()
