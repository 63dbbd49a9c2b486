"""A model that needs no network, a source that needs no registry, and a service on a loopback port."""

import asyncio
import io
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import yaml
from PIL import Image

from pipeline.params.serve import Serve
from pipeline.service import running
from tests.support.misbehaving_pictures import square

_SERVER = running.Server
LIMITS = {**yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))["serve"]}


def limits(**more) -> Serve:
    """The project's own limits, with a quick follower and a short grace."""
    changes = {"poll_seconds": 0.1, "grace_seconds": 5.0, "workers": 1, **more}
    advanced = {key: changes.pop(key) for key in list(changes) if key in LIMITS["advanced"]}
    return Serve.model_validate({**LIMITS, **changes, "advanced": {**LIMITS["advanced"], **advanced}})


@dataclass
class Row:
    probabilities: list[float]
    unsafe: float
    decision: str | None


@dataclass
class Model:
    """Scores how bright a picture is: [brightness, darkness]; `bad` makes it misbehave."""

    version: str = "1"
    name: str = "nsfw"
    labels: tuple[str, ...] = ("bright", "dark")
    size: int = 8
    threshold: float | None = 0.5
    seconds: float = 0.0
    bad: str = ""
    preprocess: object = square
    batches: list[int] = field(default_factory=list)
    released: threading.Event | None = None  # it answers when this is set

    def score(self, pixels):
        self.batches.append(len(pixels))
        time.sleep(self.seconds)
        if self.released is not None:
            assert self.released.wait(60)
        if self.bad == "raises":
            raise ValueError("a shape of\nanother kind")
        bright = pixels.reshape(len(pixels), -1).mean(axis=1) / 255
        if self.bad == "nan":
            bright = np.full(len(pixels), np.nan)
        if self.bad == "restless":
            bright = bright / (len(self.batches) + 1)
        rows = [[float(share), 1 - float(share)] for share in bright]
        if self.bad == "sum":
            rows = [[share, 0.9] for share, _ in rows]
        if self.bad == "labels":
            rows = [[*row, 0.0] for row in rows]
        return [Row(row, row[0], "unsafe" if row[0] >= 0.5 else "safe") for row in rows]


@dataclass
class Source:
    """`now` is the model in production; if it is an exception, it is raised."""

    now: object = field(default_factory=Model)
    loads: int = 0
    down: bool = False

    def stamp(self):
        if self.down:
            raise ConnectionError("nobody there")
        return str(id(self.now))

    def load(self):
        self.loads += 1
        if isinstance(self.now, Exception):
            raise self.now
        return self.now


def picture(brightness: int = 255, side: int = 40) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (brightness,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


class Running:
    """`running.serve`, in a thread of this process."""

    def __init__(self, source, its_limits, door=None):
        self.door = door
        self.listening = running._listen("127.0.0.1", 0, 100)
        self.port = self.listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.server, self.service, self.problem = None, None, ""
        self.thread = threading.Thread(target=self._run, args=[source, its_limits], daemon=True)

    def _run(self, source, its_limits):
        self.problem = asyncio.run(running._serve(source, its_limits, self.listening, wait=False, door=self.door))

    def ready(self):
        for _ in range(400):
            if not self.thread.is_alive():
                raise AssertionError(self.problem)
            if httpx.get(f"{self.url}/readyz").status_code == 200:
                return
            time.sleep(0.05)
        raise AssertionError("not ready")


@contextmanager
def serving(monkeypatch, source=None, door=None, **more):
    """A service with these limits, ready; `.url`, `.server`, `.service`."""
    its = limits(**more)
    run = Running(source or Source(), its, door)

    def keep(config, drain):
        run.server, run.service = _SERVER(config, drain), drain.args[0]
        return run.server

    monkeypatch.setattr(running, "Server", keep)
    monkeypatch.setattr(running, "_NOTICE_SECONDS", 0.2)
    monkeypatch.setattr(running, "_KEEP_SECONDS", 1)
    run.thread.start()
    try:
        run.ready()
        yield run
    finally:
        if run.thread.is_alive():
            run.server.handle_exit(15, None)
            run.thread.join(15)
    assert not run.thread.is_alive()


def metric(run, name: str) -> float:
    """A sample of /metrics, by its name with labels."""
    for line in httpx.get(f"{run.url}/metrics").text.splitlines():
        if line.startswith(name + " "):
            return float(line.rpartition(" ")[2])
    return 0.0


def lines(capture) -> list[dict]:
    return [json.loads(line) for line in capture.splitlines()]
