"""A project with params and an MLflow store, and versions with evidence to judge."""

import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "tracking"))

from mlflow_store import client, mlflow_server, project, store, template
from postgres_server import postgres
from versions import PARAMS, Makes

from pipeline import paths
from pipeline.params import Params, load_params

__all__ = ["client", "mlflow_server", "postgres", "project", "store", "template"]  # fixtures


@pytest.fixture
def params(project) -> Params:
    """The project's params: three classes, porn unsafe."""
    paths.PARAMS.write_text(yaml.safe_dump(PARAMS(), sort_keys=False), encoding="utf-8")
    return load_params()


@pytest.fixture
def makes(client, params) -> Makes:
    """Makes versions of `nsfw` with evidence."""
    return Makes(client)
