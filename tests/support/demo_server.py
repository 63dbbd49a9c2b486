"""The demo page on a loopback port, around a model that needs no network."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from pipeline.demo import app
from pipeline.images.limits import Limits
from pipeline.images.preprocessing import Preprocessor
from pipeline.pages.hosts import AllowedHosts
from pipeline.params.root import Params
from pipeline.service import running
from pipeline.service.serve import open_door
from tests.support.http_fakes import Row


@dataclass
class Painted:
    """A model that answers by colour: red is porn, green neutral, anything else drawings."""

    version: str = "4"
    name: str = "nsfw"
    labels: tuple[str, ...] = ("drawings", "hentai", "neutral", "porn", "sexy")
    size: int = 8
    threshold: float | None = 0.5
    preprocess: object = Preprocessor(Limits(), 8).frames_from_bytes
    seen: list[int] = field(default_factory=list)

    def score(self, pixels):
        self.seen.append(len(pixels))
        red, green, blue = (pixels[..., channel].reshape(len(pixels), -1).mean(axis=1) for channel in range(3))
        rows = []
        for r, g, b in zip(red, green, blue, strict=True):
            answer = "porn" if r > max(g, b) + 20 else ("neutral" if g > max(r, b) + 20 else "drawings")
            shares = [0.2 / len(self.labels) + 0.8 * (name == answer) for name in self.labels]
            safe = {"drawings", "neutral"}
            unsafe = sum(share for name, share in zip(self.labels, shares, strict=True) if name not in safe)
            rows.append(Row(shares, unsafe, "unsafe" if unsafe >= 0.5 else "safe"))
        return rows


@dataclass
class OneModel:
    """A source that always has the same model."""

    model: object = field(default_factory=Painted)
    role: str = "production"

    def stamp(self) -> str:
        return "one"

    def load(self) -> object:
        return self.model


class DemoServer:
    """`nsfw demo`, in a thread of this process; `get`, `post` and `session` speak as the page does."""

    def __init__(self, params: Params, source: OneModel) -> None:
        self.listening = running._listen("127.0.0.1", 0, 100)
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.problem = ""
        self.server: running.Server | None = None
        self.client = httpx.Client(base_url=self.url, timeout=60)
        self._params, self._source = params, source
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        def build(service):
            return app.application(service, self._params, AllowedHosts.of("127.0.0.1"), lambda: self._source.role)

        door = open_door(self._params, "demo")
        self.problem = asyncio.run(
            running._serve(self._source, self._params.serve, self.listening, wait=False, build=build, door=door)
        )

    def start(self) -> None:
        self._thread.start()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self._thread.is_alive(), self.problem
            if self.client.get("/model").json()["ready"]:
                return
            time.sleep(0.05)
        raise AssertionError("not ready")

    def stop(self) -> None:
        self.client.close()
        if self.server is not None:
            self.server.handle_exit(15, None)
        self._thread.join(15)
        assert not self._thread.is_alive()

    def token(self) -> str:
        """Load the page; return its token."""
        page = self.client.get("/").text
        return page.partition('name="csrf-token" content="')[2].partition('"')[0]

    def headers(self, **more: str) -> dict[str, str]:
        return {"origin": self.url, "x-csrf-token": self.token()} | more

    def classify(self, data: bytes, **more: str) -> httpx.Response:
        return self.client.post("/classify", files={"image": ("p", data)}, headers=self.headers(**more))

    def report(self, answer: str, label: str = "neutral", **more: object) -> httpx.Response:
        return self.client.post("/report", json={"answer": answer, "label": label, **more}, headers=self.headers())


@contextmanager
def demo(monkeypatch, params: Params, source: OneModel | None = None) -> Iterator[DemoServer]:
    """A running demo, ready."""
    run = DemoServer(params, source or OneModel())
    real = running.Server

    def keep(config, drain):
        run.server = real(config, drain)
        return run.server

    monkeypatch.setattr(running, "Server", keep)
    monkeypatch.setattr(running, "_NOTICE_SECONDS", 0.1)
    try:
        run.start()
        yield run
    finally:
        run.stop()
