"""Names say what a value is, in the field's terms: docs/glossary.md. These say nothing of it."""

import ast
import keyword
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path.relative_to(ROOT).as_posix()
    for room in ("pipeline", "tests", "benchmarks")
    for path in ROOT.glob(f"{room}/**/*.py")
)
EMPTY = {"found", "place", "places", "asked", "said", "kept", "told", "todo", "eyes", "closely", "crew", "linger"}
# The names of others: HTTP's status, Python's errors, sockets' options.
OTHERS = {"SO_LINGER", "not_found", "FileNotFoundError", "ModuleNotFoundError", "PackageNotFoundError"}


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that a module gives or uses, with its line."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Name):
            yield line, node.id
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            yield line, node.arg
        elif isinstance(node, ast.Attribute):
            yield line, node.attr
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield line, node.name
        elif isinstance(node, ast.alias):
            yield line, (node.asname or node.name).rpartition(".")[2]


def words(name: str) -> list[str]:
    """`foundAt`, `found_at` and `FOUND_AT` as [found, at]."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")


@pytest.mark.parametrize("module", MODULES)
def test_names_say_what_a_value_is(module):
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    tests = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    used = {
        (line, name) for line, name in identifiers(tree) if name not in OTHERS | tests and not keyword.iskeyword(name)
    }
    assert sorted((line, name) for line, name in used if EMPTY & set(words(name))) == []
