"""What MLflow adds to a page or a summary, which is shown without it where MLflow does not answer."""

from collections.abc import Callable
from typing import TypeVar

from pipeline.tracking import server

T = TypeVar("T")


def if_it_answers(read: Callable[[], T]) -> T | None:
    """Return what `read` gets from MLflow within `server.run_watched`; None where it fails for any reason."""
    try:
        return server.run_watched(read)
    except Exception:  # noqa: BLE001 -- MLflow's client raises any exception, and none is worth a summary
        return None
