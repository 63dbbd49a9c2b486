"""Changes to params.yaml that keep its comments, order and quotes, and the diff of them.

diff = editing.write({"train.l2": 0.001, "labels.names": ["cat", "dog"]})
"""

import difflib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.core import files, paths


def rewrite(text: str, changed: Mapping[str, Any]) -> str:
    """Return params.yaml's text with the changes (by dotted key); comments and order stay."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    yaml.representer.add_representer(
        float, lambda representer, value: representer.represent_scalar("tag:yaml.org,2002:float", _float(value))
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
    """Return a float as text that YAML 1.1 reads as a number: 1.0e-05, because it reads 1e-05 as a string."""
    mantissa, mark, exponent = repr(value).partition("e")
    return f"{mantissa}.0{mark}{exponent}" if mark and "." not in mantissa else repr(value)


def _merge(section: Any, values: Mapping[str, Any]) -> None:
    for key in [key for key in section if key not in values]:
        del section[key]
    for key, value in values.items():
        section[key] = list(value) if isinstance(value, tuple) else value


def unified_diff(old: str, new: str, path: Path = paths.PARAMS) -> str:
    """Return a unified diff of two texts of a file."""
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{path}", f"b/{path}", n=1
    )
    return "".join(lines)


def write(changed: Mapping[str, Any], path: Path = paths.PARAMS) -> str:
    """Write the changes (by dotted key) into params.yaml; return the diff."""
    old = path.read_text(encoding="utf-8")
    new = rewrite(old, changed)
    with files.atomic(path) as temporary:
        temporary.write_text(new, encoding="utf-8")
    return unified_diff(old, new, path)
