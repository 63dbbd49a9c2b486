"""Fixtures: a project with params and an MLflow store, and versions with evidence to judge."""

import pytest
import yaml

from pipeline.core import paths
from pipeline.params.root import Params, load_params
from tests.support.mlflow_store import client, mlflow_server, project, store, template
from tests.support.postgres_server import postgres
from tests.support.versions import PARAMS, VersionMaker

__all__ = ["client", "mlflow_server", "postgres", "project", "store", "template"]  # fixtures


@pytest.fixture
def params(project) -> Params:
    """The project's params: three classes, porn unsafe."""
    paths.PARAMS.write_text(yaml.safe_dump(PARAMS(), sort_keys=False), encoding="utf-8")
    return load_params()


@pytest.fixture
def makes(client, params) -> VersionMaker:
    """Makes versions of `nsfw` with evidence."""
    return VersionMaker(client)
