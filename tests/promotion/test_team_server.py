"""A team's MLflow: a server with passwords, on PostgreSQL, that hands artifacts through."""

import shutil
from pathlib import Path

import pytest

from pipeline.core import paths
from pipeline.promotion import promoting
from pipeline.promotion.history import history

pytestmark = pytest.mark.slow

PASSWORD = "a long password for tests"  # noqa: S105 -- of a server that lives for one test


@pytest.fixture
def guarded(project, postgres, mlflow_server, monkeypatch):
    """The server, which lets in those who have a password."""
    mlflow_server.store = postgres
    mlflow_server.start(
        "--app-name",
        "basic-auth",
        MLFLOW_AUTH_ADMIN_PASSWORD=PASSWORD,
        MLFLOW_FLASK_SERVER_SECRET_KEY=PASSWORD,
    )
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    return mlflow_server


@pytest.fixture
def client(guarded):
    import mlflow

    return mlflow.MlflowClient(guarded.uri)


def only_error(err: str) -> str:
    """The one line of an error. (In the tests' process MLflow may log lines of its own, as other tests have set it.)"""
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in err
    return line


def test_promotion_and_its_evidence_go_through_a_server_with_passwords(guarded, makes, params, client, nsfw):
    makes.version({"porn": 5})
    assert promoting.promote(params, None, reason="first").entry is not None
    makes.version({"porn": 5})
    shutil.rmtree(paths.EVIDENCE_CACHE)
    code, out, err = nsfw("gates", "2")
    assert (code, "gates: none failed" in out) == (0, True), out + err
    assert promoting.promote(params, "2", reason="second").entry is not None
    promoting.rollback(params, None, reason="back")
    now = history(params).now
    assert (now.production, now.findings()) == (1, [])
    assert list((guarded.folder / "artifacts").rglob("evidence.json"))
    assert not Path("mlruns").exists()


def test_a_user_without_rights_promotes_nothing(guarded, makes, params, nsfw, monkeypatch):
    from mlflow.server.auth.client import AuthServiceClient

    makes.version({"porn": 5})
    AuthServiceClient(guarded.uri).create_user("ann", PASSWORD)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    assert nsfw("history")[0] == 0  # the server's default: everybody reads
    code, _, err = nsfw("promote", "--reason", "mine")
    assert code == 1
    assert "this user may not do that (HTTP 403)" in only_error(err)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    assert makes.production() is None
    # Who may create models owns the ones she creates: a ledger of hers would have promoted it.
    assert history(params).now.production is None
    assert history(params).now.ledger.entries == ()


def test_a_wrong_password_is_told_in_a_line(guarded, makes, params, nsfw, monkeypatch):
    makes.version()
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    code, out, err = nsfw("history")
    assert (code, out) == (1, "")
    assert "(HTTP 401). Set MLFLOW_TRACKING_USERNAME" in only_error(err)
    assert "wrong" not in err
