"""Where coverage is measured: it adds half to the time of a test that runs much of TensorFlow, MLflow or pandas.

Not in tests marked `slow` or `untraced`. The files so marked run for half of the tests' CPU time, and alone run 2 % of
the branches (`pytest --cov --cov-context=test`, without the mark, tells which).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import coverage
import pytest

_stopped: list[coverage.Coverage] = []


def measured(item: pytest.Item) -> bool:
    """Whether coverage is measured in a test."""
    return not any(item.get_closest_marker(name) for name in ("slow", "untraced"))


@contextmanager
def untraced() -> Iterator[None]:
    """Do not measure coverage."""
    current = coverage.Coverage.current()
    if current is None:
        yield
        return
    current.stop()
    _stopped.append(current)
    try:
        yield
    finally:
        _stopped.pop()
        current.start()


@contextmanager
def traced() -> Iterator[None]:
    """Measure coverage, though the test that comes first is not measured."""
    if not _stopped:
        yield
        return
    _stopped[-1].start()
    try:
        yield
    finally:
        _stopped[-1].stop()
