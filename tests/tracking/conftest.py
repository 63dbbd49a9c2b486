"""A project with an MLflow store."""

from mlflow_store import client, mlflow_server, project, store, template

__all__ = ["client", "mlflow_server", "project", "store", "template"]  # fixtures
