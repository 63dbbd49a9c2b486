"""A server that cannot use its bucket is no matter of the person who asks it: one message says so."""

import json

import pytest
import requests

from pipeline.tracking import server
from pipeline.tracking.publish import describe

ARTIFACTS = "http://127.0.0.1:5000/api/2.0/mlflow-artifacts/artifacts"
LISTED = "Failed to list artifacts in s3://team/mlflow: Access Denied"


def answered(status: int, body: str, url: str = ARTIFACTS) -> requests.HTTPError:
    """The error that MLflow's client raises for an answer about artifacts."""
    response = requests.Response()
    response.status_code, response._content = status, body.encode()
    return requests.HTTPError(f"{status} Client Error: for url: {url}. Response text: {body}", response=response)


@pytest.fixture(autouse=True)
def address(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:secret@127.0.0.1:5000")


@pytest.mark.parametrize("status", [401, 403])
def test_what_s3_says_to_the_server_is_not_about_the_users_password(status):
    body = json.dumps({"error_code": "PERMISSION_DENIED", "message": LISTED})
    messages = {describe(answered(status, body, f"{ARTIFACTS}?path={run}")) for run in ("a", "b")}
    (message,) = messages  # of all runs of a sync
    assert f"cannot use its store of artifacts ({LISTED})" in message
    assert "MLFLOW_TRACKING_USERNAME" not in message
    assert "secret" not in message


@pytest.mark.parametrize(("status", "word"), [(401, "HTTP 401"), (403, "HTTP 403")])
def test_an_artifact_that_the_user_may_not_have_is_about_the_user(status, word):
    message = describe(answered(status, "Permission denied"))
    assert word in message
    assert "MLFLOW_TRACKING_USERNAME" in message


def test_an_upload_that_the_server_breaks_off_is_about_its_store():
    broken = OSError(f"API request to {ARTIFACTS}/1/a failed with exception: Max retries exceeded (Connection aborted)")
    assert "cannot use its store of artifacts (it broke off the request" in describe(broken)
    assert "cannot use its store of artifacts (HTTP 500" in describe(answered(500, "<html>oops"))


def test_other_errors_stay_as_they_are():
    assert describe(ValueError("x\ny")) == "MLflow refused: x"
    assert describe(answered(500, "oops", "http://127.0.0.1:5000/api/2.0/mlflow/runs/get")).startswith("MLflow refused")
    assert describe(answered(200, "[]")).startswith("MLflow refused")


def test_artifacts_go_through_the_server(monkeypatch):
    for name in ("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(server.os, "environ", dict(server.os.environ))
    server.prepare_environment()
    assert server.os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"] == "false"
    assert server.os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"] == "false"
