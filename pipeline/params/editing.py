"""Changes to params.yaml that are read as a diff: comments, order and quotes stay.

diff = params_text.write({"train.l2": 0.001, "labels.names": ["cat", "dog"]})
"""

import difflib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.core import files, paths


def rewritten(text: str, changed: Mapping[str, Any]) -> str:
    """Return params.yaml's text with the changes, its comments and order kept."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.representer.add_representer(
        type(None), lambda made, _: made.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    yaml.representer.add_representer(
        float, lambda made, value: made.represent_scalar("tag:yaml.org,2002:float", _float(value))
    )
    document = yaml.load(text)
    for key, value in changed.items():
        *path, last = key.split(".")
        section = document
        for part in path:
            section = section[part]
        if isinstance(value, Mapping):
            _merge(section[last], value)
        elif isinstance(value, (tuple, list)):
            section[last][:] = list(value)
        else:
            section[last] = value
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def _float(value: float) -> str:
    """Return a float as YAML 1.1 reads it too: it takes 1e-05 for a string, and 1.0e-05 for a number."""
    mantissa, mark, exponent = repr(value).partition("e")
    return f"{mantissa}.0{mark}{exponent}" if mark and "." not in mantissa else repr(value)


def _merge(section: Any, values: Mapping[str, Any]) -> None:
    for key in [key for key in section if key not in values]:
        del section[key]
    for key, value in values.items():
        section[key] = list(value) if isinstance(value, tuple) else value


def difference(old: str, new: str, path: Path = paths.PARAMS) -> str:
    """Return a unified diff."""
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{path}", f"b/{path}", n=1
    )
    return "".join(lines)


def write(changed: Mapping[str, Any], path: Path = paths.PARAMS) -> str:
    """Put the changes into params.yaml; return the diff."""
    old = path.read_text(encoding="utf-8")
    new = rewritten(old, changed)
    with files.atomic(path) as temporary:
        temporary.write_text(new, encoding="utf-8")
    return difference(old, new, path)
