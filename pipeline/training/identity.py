"""What the weights of a training depend on, as digests: where one differs, nothing of an earlier training is used."""

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from pipeline.core import code_digests
from pipeline.tracking import lineage

# What the weights depend on besides params, data and our own code.
_LIBRARIES = ("keras", "tensorflow", "numpy")


def digests_of(stage: str, values: Mapping[str, object], data: Sequence[Path]) -> dict[str, str]:
    """Return a digest of each thing that the weights of a stage's trainings depend on: params, data, code."""
    parts = {
        "params": [repr(values)],
        "data": [lineage.digest(path) for path in data],
        "code": [
            *code_digests.digest_lines(f"pipeline.stages.{stage}"),
            *(f"{name} {version(name)}" for name in _LIBRARIES),
        ],
    }
    return {name: hashlib.sha256("\n".join(texts).encode()).hexdigest() for name, texts in parts.items()}
