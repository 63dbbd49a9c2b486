"""`nsfw demo` as a process of its own, and which model it shows."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image

from pipeline.demo.source import ProductionElseChallenger
from pipeline.promotion import promoting
from tests.support import registered_models, version_fixtures

client, makes, params, project, store, template = (
    version_fixtures.client, version_fixtures.makes, version_fixtures.params,
    version_fixtures.project, version_fixtures.store, version_fixtures.template,
)  # fmt: skip
model_bytes = registered_models.model_bytes
ROOT = Path(__file__).parents[2]


def test_the_challenger_is_shown_until_something_is_in_production(makes, params, monkeypatch):
    makes.version()
    source = ProductionElseChallenger(params)
    for name in ("_production", "_challenger"):
        monkeypatch.setattr(getattr(source, name), "load", lambda name=name: name)
    assert (source.stamp(), source.load(), source.role) == ("challenger 1", "_challenger", "challenger")
    makes.version()
    assert source.stamp() == "challenger 2"
    promoting.promote(params, "1", reason="a test")
    assert source.stamp().startswith("nsfw 1 1 ")
    assert (source.load(), source.role) == ("_production", "production")


@pytest.mark.slow
def test_the_command_shows_the_page_with_a_registered_version_until_it_is_interrupted(
    client, params, project, model_bytes, tmp_path
):
    registered_models.registered(model_bytes, project, registered_models.DECISION.to_document())
    log = tmp_path / "demo.log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    command = [sys.executable, "-c", "from pipeline.cli.console import main; main()", "demo", "--port", "0"]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, env=environment | {"PYTHONPATH": str(ROOT)}, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        url = wait_for(process, log)
        with httpx.Client(base_url=url, timeout=60) as http:
            while not (known := http.get("/model").json())["ready"]:
                assert process.poll() is None, log.read_text()
                time.sleep(0.2)
            assert known == {"ready": True, "name": "nsfw", "version": "1", "role": "challenger"}
            token = http.get("/").text.partition('name="csrf-token" content="')[2].partition('"')[0]
            buffer = io.BytesIO()
            Image.new("RGB", (64, 48), "red").save(buffer, "PNG")
            headers = {"origin": url, "x-csrf-token": token}
            answer = http.post("/classify", files={"image": ("p", buffer.getvalue())}, headers=headers).json()
            assert set(answer["probabilities"]) == {"drawings", "neutral", "porn"}
            assert answer["threshold"] == 0.4
            sent = {"answer": answer["answer"], "label": "neutral"}
            assert http.post("/report", json=sent, headers=headers).status_code == 201
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert (project / "inbox/reports.sqlite").is_file()


def wait_for(process: subprocess.Popen, log: Path) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if match := re.search(r"(http://127\.0\.0\.1:\d+)/ shows the demo page", log.read_text()):
            return match[1]
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())
