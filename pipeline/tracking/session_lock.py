"""The lock of an MLflow store: the processes of one machine use the store one after the other."""

import fcntl
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core import paths
from pipeline.tracking import main_project
from pipeline.tracking.unreachable import Unreachable

_LOCK_SECONDS = 120.0


@contextmanager
def session_lock(uri: str) -> Iterator[None]:
    """Hold this machine's lock of the store `uri`.

    Raises:
        Unreachable: another session has held it for two minutes.

    """
    name = hashlib.sha256(uri.encode()).hexdigest()[:12]
    path = main_project.persistent_path(paths.CACHE) / f"mlflow-{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        end = time.monotonic() + _LOCK_SECONDS
        while not _try_lock(handle.fileno()):
            if time.monotonic() > end:
                raise Unreachable(f"another publication to MLflow has held {path} for {_LOCK_SECONDS:g} s")
            time.sleep(0.05)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
