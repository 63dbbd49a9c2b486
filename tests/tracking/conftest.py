"""A project with an MLflow store."""

from mlflow_store import client, mlflow_server, project, store, template
from postgres_server import postgres

__all__ = ["client", "mlflow_server", "postgres", "project", "store", "template"]  # fixtures
