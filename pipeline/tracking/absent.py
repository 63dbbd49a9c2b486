"""What MLflow does not have: None instead of its exception."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def or_none(ask: Callable[[], T]) -> T | None:
    """Return what `ask` returns, None where MLflow answers that there is no such thing; other errors pass through."""
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
