"""A server that is dead, hangs, or dies and comes back costs seconds and one warning, and loses nothing."""

import logging
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipeline.registry.sync import sync
from pipeline.tracking import server
from pipeline.tracking.live_publisher import LivePublisher, tracked_run
from pipeline.tracking.publish import publish
from pipeline.tracking.unreachable import Unreachable
from tests.support.tracking_helpers import begin, finished, runs, steps


@pytest.fixture
def refused(project, monkeypatch):
    """A port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://user:secret@127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


@pytest.fixture
def silent(project, monkeypatch):
    """A port that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{listening.getsockname()[1]}")
        yield


@pytest.fixture
def answering(project):
    """Serves `status` on every path."""

    class Handler(BaseHTTPRequestHandler):
        status = 200

        def do_GET(self):
            self.send_response(self.status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield Handler, f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


@pytest.mark.parametrize(("status", "alive"), [(200, True), (401, True), (404, True), (502, False), (503, False)])
def test_what_counts_as_an_answer(answering, status, alive):
    handler, uri = answering
    handler.status = status
    if alive:
        server.check(uri)
    else:
        with pytest.raises(Unreachable, match=f"HTTP {status}"):
            server.check(uri)


def test_a_database_is_asked_by_its_port_and_a_file_always_answers(refused):
    with pytest.raises(Unreachable, match="refused"):
        server.check(refused.replace("http", "postgresql+psycopg"))
    server.check("sqlite:////nowhere/mlflow.db")


def test_a_password_is_not_shown(refused):
    problem = publish(finished().folder).problem
    assert "refused" in problem
    assert "secret" not in problem


def test_the_users_settings_stay(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    server.prepare_environment()
    import os

    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def train(record, epochs=5):
    """Log epochs as a training loop does; return the longest that one took, s."""
    longest = 0.0
    for epoch in range(epochs):
        start = time.monotonic()
        record.log_epoch(epoch, {"val_loss": 1.0 / (epoch + 1)})
        longest = max(longest, time.monotonic() - start)
        time.sleep(0.02)
    return longest


def measured(caplog, work):
    caplog.set_level(logging.WARNING)
    start = time.monotonic()
    work()
    assert len([entry for entry in caplog.records if "nsfw sync" in entry.message]) <= 1
    return time.monotonic() - start


@pytest.mark.parametrize("state", ["refused", pytest.param("silent", marks=pytest.mark.slow)])
def test_a_dead_or_hanging_server_costs_seconds_and_one_warning(request, caplog, state):
    request.getfixturevalue(state)
    record = begin()

    def work():
        with LivePublisher(record), record:
            assert train(record) < 0.5

    assert measured(caplog, work) < 8
    assert len(caplog.records) == 1
    assert [line["epoch"] for line in record.metrics()] == [0, 1, 2, 3, 4]
    start = time.monotonic()
    report = sync()
    assert time.monotonic() - start < 8
    assert len(report.problems) == 1


@pytest.mark.slow
def test_a_run_appears_while_it_trains(mlflow_server):
    mlflow_server.start()
    import mlflow

    client = mlflow.MlflowClient(mlflow_server.uri)
    with tracked_run("train", params={"seed": 1}, inputs=[]) as record:
        record.log_epoch(0, {"val_loss": 1.0})
        end = time.monotonic() + 30
        while not (listed := runs(client)) or "val_loss" not in listed[0].data.metrics:
            assert time.monotonic() < end
            time.sleep(0.2)
        assert listed[0].info.status == "RUNNING"
        record.log_epoch(1, {"val_loss": 0.5})
        record.model_path.write_bytes(b"model" * 1000)
    (run,) = runs(client)
    assert run.info.status == "FINISHED"
    assert steps(client, run.info.run_id, "val_loss") == [0, 1]
    assert [entry.file_size for entry in client.list_artifacts(run.info.run_id, "model")] == [5000]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("moment", ["before", "during"])
def test_a_server_lost_before_or_during_training(mlflow_server, caplog, number, moment):
    mlflow_server.start()
    record = begin()
    import mlflow

    def work():
        with LivePublisher(record, poll_seconds=0.2) as live, record:
            if moment == "during":
                record.log_epoch(100, {"val_loss": 2.0})
                end = time.monotonic() + 30
                while live.run_id is None:
                    assert time.monotonic() < end
                    time.sleep(0.05)
            mlflow_server.signal(number)
            started = time.monotonic()
            assert train(record) < 0.5
            assert time.monotonic() - started < 3

    if moment == "before":
        mlflow_server.signal(number)
    assert measured(caplog, work) < 20
    assert record.status == "FINISHED"
    if number == signal.SIGKILL:
        mlflow_server.kill()
        mlflow_server.start()
    else:
        mlflow_server.signal(signal.SIGCONT)
    report = sync()
    assert report.problems == []
    client = mlflow.MlflowClient(mlflow_server.uri)
    (run,) = runs(client)
    assert run.info.status == "FINISHED"
    assert steps(client, run.info.run_id, "val_loss") == [0, 1, 2, 3, 4] + [100] * (moment == "during")


@pytest.mark.slow
def test_a_server_that_dies_after_training_is_completed_by_sync(mlflow_server, caplog):
    mlflow_server.start()
    record = begin()
    import mlflow

    def work():
        with LivePublisher(record, poll_seconds=0.2) as live, record:
            train(record)
            end = time.monotonic() + 30
            while live.run_id is None:
                assert time.monotonic() < end
                time.sleep(0.05)
            record.model_path.write_bytes(b"model")
            mlflow_server.kill()

    assert measured(caplog, work) < 45
    mlflow_server.start()
    assert sync().problems == []
    client = mlflow.MlflowClient(mlflow_server.uri)
    (run,) = runs(client)
    assert steps(client, run.info.run_id, "val_loss") == [0, 1, 2, 3, 4]
    assert len(client.list_artifacts(run.info.run_id, "model")) == 1


@pytest.mark.slow
def test_a_server_that_comes_back_gets_the_rest_while_it_trains(mlflow_server, monkeypatch, caplog):
    monkeypatch.setattr("pipeline.tracking.live_publisher._FIRST_RETRY_SECONDS", 0.3)
    record = begin()
    import mlflow

    with LivePublisher(record, poll_seconds=0.2) as live, record:
        train(record)
        time.sleep(1)
        assert live.run_id is None
        mlflow_server.start()
        end = time.monotonic() + 60
        while live.run_id is None:
            assert time.monotonic() < end
            time.sleep(0.1)
    assert live.complete
    client = mlflow.MlflowClient(mlflow_server.uri)
    assert steps(client, live.run_id, "val_loss") == [0, 1, 2, 3, 4]
    assert len(caplog.records) == 1
