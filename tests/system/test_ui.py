"""`nsfw ui` shows the runs, in a real browser."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def get(url: str) -> tuple[int, str]:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 -- our own server
        return answer.status, answer.read().decode()


@pytest.fixture(scope="module")
def ui(synced, tmp_path_factory):
    """The address of a running `nsfw ui`."""
    project, _ = synced
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("ui") / "log.txt"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    with log.open("wb") as opened:
        process = subprocess.Popen(
            [sys.executable, "-c", "from pipeline.cli import main; main()", "ui", "--port", str(port)],
            cwd=project.root,
            env=environment,
            stdout=opened,
            stderr=opened,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 120
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            try:
                get(f"{url}/health")
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        yield url, log
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def test_it_serves_mlflows_page_and_says_where(ui):
    url, log = ui
    status, page = get(url)
    assert status == 200
    assert "<title>MLflow</title>" in page
    assert url in log.read_text()


def test_a_browser_sees_the_runs(ui, synced, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine to look with")
    project, _ = synced
    url, _ = ui
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{project.root}/mlflow.db")
    experiment = client.get_experiment_by_name("nsfw").experiment_id
    names = [run.info.run_name for run in client.search_runs([experiment])]
    assert len(names) == 2
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path}",
    ]
    page = f"{url}/#/experiments/{experiment}/runs"
    for patience in (15_000, 45_000):  # ms of the page's own time
        dom = subprocess.run(
            [chromium, *flags, f"--virtual-time-budget={patience}", "--dump-dom", page],
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        ).stdout
        if all(name in dom for name in names):
            break
    assert [name for name in names if name not in dom] == []
    assert Path(tmp_path).is_dir()
