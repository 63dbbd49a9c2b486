import json
import shutil

import pytest

from pipeline.core.errors import UserError
from pipeline.registry import verification
from pipeline.registry.loading import open_model, title
from pipeline.registry.model_versions import register
from tests.support.registered_models import made, model_bytes
from tests.support.versions import NAMES

pytestmark = pytest.mark.untraced

__all__ = ["model_bytes"]  # a fixture


@pytest.fixture
def registered(client, params, model_bytes):
    """Version 1, the challenger; nothing is in production."""
    assert register(made(model_bytes)).version == 1
    return params


@pytest.mark.parametrize("requested", ["models:/nsfw/1", "models:/nsfw@challenger", "1", "challenger"])
def test_a_version_by_any_of_its_names(registered, requested):
    opened = open_model(registered, requested)
    assert (opened.version, title(opened), opened.classifier().labels) == (1, "nsfw/1", NAMES)


@pytest.mark.parametrize("requested", [None, "production", "models:/nsfw@production"])
def test_production_is_what_may_serve(registered, requested, monkeypatch):
    with pytest.raises(UserError, match="nothing of nsfw is in production"):
        open_model(registered, requested)
    monkeypatch.setattr(verification, "verify", lambda _, *, allow_unverified: f"verified, {allow_unverified}")
    assert open_model(registered, requested, allow_unverified=True) == "verified, True"


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ("models:/other/1", "another registered model's"),
        ("models:/nsfw", "no model's address"),
        ("models:/nsfw/9", "9"),
        ("a/b.keras", "no folder, and no version"),
    ],
)
def test_what_is_no_model_is_said(registered, requested, message):
    with pytest.raises(UserError, match=message):
        open_model(registered, requested)


def test_a_folder_of_a_version_works_without_the_registry(registered, tmp_path):
    artifacts = open_model(registered, "1").folder
    shutil.copytree(artifacts, tmp_path / "model" / "artifacts")
    for folder in ("model", "model/artifacts"):
        opened = open_model(registered, str(tmp_path / folder))
        assert (opened.classifier().labels, title(opened)) == (NAMES, opened.spec["model_sha256"])
    (tmp_path / "model/artifacts/model.keras").write_bytes(b"another")
    with pytest.raises(UserError, match="its file has changed"):
        open_model(registered, str(tmp_path / "model"))
    (tmp_path / "model/artifacts/model.json").write_text(json.dumps([]))
    with pytest.raises(UserError, match="is not a model of ours"):
        open_model(registered, str(tmp_path / "model"))
    with pytest.raises(UserError, match="mlflow artifacts download"):
        open_model(registered, str(tmp_path))
