"""`nsfw serve` as a process of its own, on a project with one version in production."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from pipeline.core import paths
from pipeline.params.root import load_params
from pipeline.promotion import promoting
from tests.support.registered_models import DECISION, registered

REPOSITORY = Path(__file__).parents[2]


def promote(params, **more) -> int:
    outcome = promoting.promote(params, None, reason="a test", **more)
    assert outcome.entry is not None, outcome.failed
    return outcome.version


@pytest.fixture
def one(client, params, project, model_bytes):
    """Version 1, with its decision, in production."""
    registered(model_bytes, project, DECISION.to_document())
    promote(params)
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document["serve"] |= {"workers": 1, "queue": 50}
    document["serve"]["advanced"]["poll_seconds"] = 0.5
    paths.PARAMS.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return load_params()


class Served:
    """A running `nsfw serve`."""

    def __init__(self, process: subprocess.Popen, log: Path, errors: Path):
        self.process, self.log, self.errors = process, log, errors
        self.url = ""

    def lines(self, message: str) -> list[dict]:
        text = self.log.read_text(encoding="utf-8")
        records = [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in records if line["message"] == message]

    def wait_for(self, message: str, count: int = 1, seconds: float = 120.0) -> dict:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if len(records := self.lines(message)) >= count:
                return records[-1]
            assert self.process.poll() is None, self.errors.read_text(encoding="utf-8")[-2000:]
            time.sleep(0.1)
        raise AssertionError(f"no {message}: {self.log.read_text(encoding='utf-8')[-2000:]}")

    def seconds_to_exit(self) -> float:
        """Wait until the process ends; return the seconds from its last log line to that."""
        stopped_at, end = 0.0, time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < end:
            if not stopped_at and '"stopped"' in self.log.read_text(encoding="utf-8"):
                stopped_at = time.monotonic()
            time.sleep(0.01)
        assert self.lines("stopped")
        return time.monotonic() - (stopped_at or time.monotonic())

    def post(self, *contents: bytes) -> httpx.Response:
        files = [("i", ("a", content)) for content in contents]
        return httpx.post(f"{self.url}/v1/classify", files=files, timeout=60)


@contextmanager
def served(tmp_path, *arguments: str):
    log, errors = tmp_path / "serve.log", tmp_path / "serve.err"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    with log.open("w") as out, errors.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", "from pipeline.cli.console import main; main()", "serve", "--port", "0", *arguments],
            env=environment | {"PYTHONPATH": str(REPOSITORY)}, stdout=out, stderr=err,
        )  # fmt: skip
    service = Served(process, log, errors)
    try:
        yield service
    finally:
        process.kill()
        process.wait()


def ready(service: Served) -> None:
    service.url = f"http://127.0.0.1:{service.wait_for('listening')['port']}"
    service.wait_for("ready")
