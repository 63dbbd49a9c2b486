"""Requests to MLflow for things that may not exist."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def or_none(request: Callable[[], T]) -> T | None:
    """Return what `request` returns, or None if MLflow answers that the thing does not exist.

    Other errors of MLflow pass through.
    """
    from mlflow.exceptions import MlflowException

    try:
        return request()
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
