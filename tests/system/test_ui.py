"""`nsfw ui` shows the runs, in a real browser."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

pytestmark = pytest.mark.slow

PATIENCE = 60_000  # ms, for MLflow's page to be there on a busy machine


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
            [sys.executable, "-c", "from pipeline.cli.console import main; main()", "ui", "--port", str(port)],
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


def test_a_browser_sees_the_runs(ui, synced, browser):
    project, _ = synced
    _, log = ui
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{project.root}/mlflow.db")
    experiment = client.get_experiment_by_name("nsfw").experiment_id
    names = [run.info.run_name for run in client.search_runs([experiment])]
    assert len(names) == 2
    (address,) = re.findall(r"http://\S+", log.read_text().splitlines()[0])
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.goto(address)
    for text in (*names, "best_val_macro_recall", "best_val_unsafe_recall"):
        page.get_by_text(text).first.wait_for(timeout=PATIENCE)


def test_a_version_leads_to_its_model_card(ui, browser):
    url, _ = ui
    page = browser.new_page()
    page.goto(f"{url}/#/models/nsfw/versions/1")
    link = page.get_by_role("link", name="Model card")
    link.wait_for(timeout=PATIENCE)
    with page.context.expect_page() as opened:
        link.click()
    card = opened.value.frame_locator("iframe").get_by_role("heading", name="Model card: nsfw")
    card.wait_for(timeout=PATIENCE)
