"""A project with params and an MLflow store, and versions with evidence to judge."""

from tests.support.version_fixtures import client, makes, mlflow_server, params, postgres, project, store, template

__all__ = ["client", "makes", "mlflow_server", "params", "postgres", "project", "store", "template"]  # fixtures
