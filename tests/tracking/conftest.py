"""A project with an MLflow store."""

from tests.support.mlflow_store import client, mlflow_server, project, store, template
from tests.support.postgres_server import postgres

__all__ = ["client", "mlflow_server", "postgres", "project", "store", "template"]  # fixtures
