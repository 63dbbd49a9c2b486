"""What takes long to make, made once for all test processes of a session."""

import fcntl
import json
import os
from collections.abc import Callable
from typing import Any

import pytest


def per_session(factory: pytest.TempPathFactory, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `make` does, as JSON keeps it; under `-n`, the first process to need it makes it for the others."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return make()
    shared = factory.getbasetemp().parent / f"{name}.json"  # the processes' temporary folders lie side by side
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            shared.write_text(json.dumps(make()), encoding="utf-8")
    known: dict[str, Any] = json.loads(shared.read_text(encoding="utf-8"))
    return known
