"""A database as MLFLOW_TRACKING_URI is refused, unless the experiment has an artifact location that others reach."""

from types import SimpleNamespace

import pytest

from pipeline.core.errors import UserError
from pipeline.tracking import server
from pipeline.tracking.live_publisher import tracked_run
from pipeline.tracking.publish import publish
from tests.support.tracking_helpers import finished, runs


def experiments(location: str | None) -> SimpleNamespace:
    """A client that has one experiment, or none, and cannot create any."""
    known = SimpleNamespace(experiment_id="7", artifact_location=location, lifecycle_stage="active")
    return SimpleNamespace(get_experiment_by_name=lambda _: known if location else None)


@pytest.mark.parametrize("location", [None, "/home/a/project/mlruns/7", "file:///home/a/mlruns/7", "mlruns/7"])
def test_artifacts_that_would_stay_here_are_refused(project, monkeypatch, location):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg://ann:secret@db.example.org/mlflow")
    with pytest.raises(UserError, match="holds no artifacts") as caught:
        server.experiment_id(experiments(location))
    assert "secret" not in str(caught.value)
    assert "mlflow server --backend-store-uri" in str(caught.value)


@pytest.mark.parametrize("location", ["s3://team/mlflow/7", "mlflow-artifacts:/7", "gs://x/7"])
def test_an_experiment_whose_artifacts_others_reach_is_taken(project, monkeypatch, location):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://db.example.org/mlflow")
    assert server.experiment_id(experiments(location)) == "7"


def test_a_database_that_lets_nobody_in_stops_no_training(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg://ann:secret@127.0.0.1/mlflow")

    def closed(_):
        raise RuntimeError("password authentication failed")

    monkeypatch.setattr(server, "run_watched", closed)
    with tracked_run("train", params={}, inputs=[]) as record:
        record.log_epoch(0, {"val_loss": 1.0})
    assert record.status == "FINISHED"


@pytest.mark.slow
def test_a_training_is_refused_before_it_starts_and_a_server_on_the_same_database_takes_it(
    project, postgres, monkeypatch, request
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres)
    with pytest.raises(UserError, match="holds no artifacts"), tracked_run("train", params={}, inputs=[]):
        pytest.fail("it trains")
    assert not (project / "mlruns").exists()
    behind = request.getfixturevalue("mlflow_server")
    behind.store = postgres
    behind.start()
    import mlflow

    record = finished()
    assert publish(record.folder).complete
    client = mlflow.MlflowClient(behind.uri)
    (run,) = runs(client)
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert (behind.folder / "artifacts").is_dir()
