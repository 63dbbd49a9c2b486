"""A small project; with `client`, an MLflow store and versions with evidence to judge."""

from tests.support.public_reports import own_dvc

__all__ = ["own_dvc"]  # fixtures
