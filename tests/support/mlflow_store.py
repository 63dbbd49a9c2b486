"""Fixtures: a project in a temporary folder, with an MLflow store whose schema was made once."""

import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.tracking import server
from tests.support.tracking_helpers import Server


@pytest.fixture(scope="session")
def template(request, tmp_path_factory) -> Path:
    """An empty store: MLflow takes seconds to make its schema, so it is cached for the next run."""
    server.prepare_environment()
    cached = request.config.cache.mkdir("mlflow-store") / f"{version('mlflow')}.db"
    if not cached.is_file():
        import mlflow

        path = tmp_path_factory.mktemp("store") / "mlflow.db"
        mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
        shutil.copyfile(path, path.with_suffix(".copy"))
        shutil.move(path.with_suffix(".copy"), cached)
    return cached


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A working directory with two inputs, without any setting of a server."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    (root / "in.csv").write_text('sha256,note\na,"one\ntwo"\nb,\n', encoding="utf-8")
    (root / "packed").mkdir()
    (root / "packed" / "train-0.tfrecord").write_bytes(b"pixels")
    return root


@pytest.fixture
def store(project, template) -> Path:
    """The project's default store, ready."""
    shutil.copyfile(template, project / "mlflow.db")
    return project / "mlflow.db"


@pytest.fixture
def client(store):
    """A client on it."""
    import mlflow

    return mlflow.MlflowClient(f"sqlite:///{store}")


@pytest.fixture
def mlflow_server(project, template, tmp_path, monkeypatch):
    """A server that is not started yet; MLFLOW_TRACKING_URI names it."""
    made = Server(tmp_path / "server", template)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    yield made
    made.kill()
