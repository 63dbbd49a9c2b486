"""Where coverage is measured: it adds half to the time of a test that runs much of TensorFlow, MLflow or pandas.

Not in tests marked `slow` or `untraced`, nor in the files below, whose lines other tests run too: in order of the lines
that they alone run, for each second of CPU time, they took half of all tests' seconds and had 2 % of the branches. To
choose anew: `pytest --cov --cov-context=test`, with no mark and no file untraced.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import coverage
import pytest

FILES = frozenset(
    f"tests/{name}.py"
    for name in (
        "core/test_code_digests",
        "demo/test_demo_http",
        "duplicates/test_candidates",
        "duplicates/test_label_resolution",
        "duplicates/test_report",
        "evidence/test_scoring",
        "model/test_backbone",
        "model/test_backbone_export",
        "model/test_network",
        "model/test_schedule",
        "model/test_weights_file",
        "model_import/test_keras_file",
        "model_import/test_layers_model",
        "model_import/test_tfjs_weights",
        "monitoring/test_drift",
        "promotion/test_agreement",
        "promotion/test_at_once",
        "promotion/test_comparison",
        "promotion/test_history",
        "promotion/test_other_labels",
        "promotion/test_promoting",
        "promotion/test_tracing",
        "registry/test_ledger",
        "registry/test_loading",
        "registry/test_model_versions",
        "registry/test_verification",
        "screening/test_screens",
        "service/test_screened_service",
        "stages/test_catalog",
        "stages/test_dedupe",
        "stages/test_embed",
        "stages/test_lines",
        "stages/test_register",
        "stages/test_split",
        "stages/test_train",
        "stages/test_validate",
        "test_graph",
        "training/test_embedding_cache",
        "training/test_fit",
    )
)
_stopped: list[coverage.Coverage] = []


def measured(item: pytest.Item) -> bool:
    """Whether coverage is measured in a test."""
    marked = any(item.get_closest_marker(name) for name in ("slow", "untraced"))
    return not marked and item.nodeid.split("::")[0] not in FILES


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
