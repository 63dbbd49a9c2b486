"""A client whose every picture hangs, or kills its worker, does not cost another client its answers' speed."""

import itertools
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.support.http_fakes import picture

ROOT = Path(__file__).parents[2]
ROUNDS, SECONDS, CONNECTIONS = 3, 6.0, 2
SERVE = """
import asyncio, sys
sys.path.insert(0, {folder!r})
if __name__ == "__main__":  # workers import this module too
    from tests.support.http_fakes import Source, limits, running
    listening = running._listen("127.0.0.1", 0, 100)
    print(listening.getsockname()[1], flush=True)
    asyncio.run(running._serve(Source(), limits(workers=2, queue=None), listening, wait=False))
"""


@pytest.fixture
def url(tmp_path):
    """A service with the project's own limits, in a process of its own; decoders are real, its model is not."""
    script = tmp_path / "main.py"
    script.write_text(SERVE.format(folder=str(ROOT)), encoding="utf-8")
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    try:
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        end = time.monotonic() + 120
        while httpx.get(f"{address}/readyz").status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def post(client: httpx.Client, url: str, content: bytes) -> httpx.Response:
    return client.post(f"{url}/v1/classify", files={"image": ("a", content)}, timeout=120)


def good_client(url: str, seconds: float) -> tuple[float, int]:
    """Ask again and again; return the 95th percentile in s of the answers, and how many were no answer."""
    content, took, refused, end = picture(200, 600), [], 0, time.monotonic() + seconds
    with httpx.Client() as client:
        while time.monotonic() < end:
            begun = time.perf_counter()
            while post(client, url, content).status_code != 200:
                refused += 1
                time.sleep(0.01)
            took.append(time.perf_counter() - begun)
    return statistics.quantiles(took, n=20)[-1], refused


@pytest.mark.rare  # it measures, for three minutes, with the machine to itself
@pytest.mark.slow
@pytest.mark.timed
@pytest.mark.parametrize("act", [b"crash", b"hang"])
def test_a_client_whose_every_picture_costs_a_worker_at_most_doubles_the_p95_of_another(url, act):
    numbers, bad, over = itertools.count(), threading.Event(), threading.Event()

    def misbehave() -> None:
        with httpx.Client() as client:
            while not over.is_set():
                if bad.wait(0.1):
                    post(client, url, b"%s, %d" % (act, next(numbers)))  # each is another content

    threads = [threading.Thread(target=misbehave, daemon=True) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    good_client(url, SECONDS)
    alone, beside = [], []
    for _ in range(ROUNDS):
        alone.append(good_client(url, SECONDS))
        bad.set()
        time.sleep(1.0)
        beside.append(good_client(url, SECONDS))
        bad.clear()
        time.sleep(1.0)
    over.set()
    ratio = statistics.median(p95 for p95, _ in beside) / statistics.median(p95 for p95, _ in alone)
    print(f"{act.decode()}: p95 alone {alone}, beside {next(numbers)} of the other's {beside}: {ratio:.2f} times")
    assert ratio <= 2.0
