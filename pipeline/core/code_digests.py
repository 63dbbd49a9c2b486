"""What a result depends on of the project's own code: which modules, and a digest of each that a comment leaves alone.

    lines("pipeline.stages.train")  # ["pipeline.evaluation.recall 3f9a...", ...]

A module is known by its syntax tree. What cannot change a result is no part of it: comments, docstrings, layout, log
lines, messages of errors that a user reads, imports for type checkers.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]

# Modules and rooms that never change a result, so that no stage's list holds them, nor what only they import.
PLUMBING = {
    "pipeline.__main__": "starts a stage",
    "pipeline.core.code_digests": "says what depends on what; a list that it writes otherwise is another list",
    "pipeline.core.errors": "messages and exit codes",
    "pipeline.core.executor": "the same items in the same order, on however many processes",
    "pipeline.core.files": "files written whole or not at all: the same bytes",
    "pipeline.core.git": "asks git, for lineage",
    "pipeline.core.paths": "where things lie: dvc.yaml names each as a dep or an out",
    "pipeline.core.processes": "worker processes end with their parent",
    "pipeline.core.tensorflow_log": "keeps TensorFlow's messages off the screen",
    "pipeline.core.yaml_document": "reads params.yaml, whose values are deps themselves",
    "pipeline.params": "types and limits of values that are deps themselves",
    "pipeline.images.worker_pool": "hands bytes to worker processes, and replaces those that die",
    "pipeline.tracking": "publishes results; makes none",
    "pipeline.training.progress": "a bar on a terminal",
}
_LOGGERS = {"_log"}


def is_plumbing(module: str) -> bool:
    """Whether a module can never change a result."""
    return any(module == name or module.startswith(f"{name}.") for name in PLUMBING)


def lines(*roots: str) -> list[str]:
    """Return `<module> <digest>`, sorted, for every module that the roots' results depend on, the roots included."""
    modules = sorted(module for module in closure(*roots, through_plumbing=False) if not is_plumbing(module))
    return [f"{module} {module_digest(module)}" for module in modules]


def digest(*roots: str) -> str:
    """Return one digest of all that `lines` lists."""
    return hashlib.sha256("\n".join(lines(*roots)).encode()).hexdigest()


def closure(*roots: str, through_plumbing: bool = True) -> set[str]:
    """Return the roots and every module of the project that they import when they run, directly or not."""
    reached, waiting = set(roots), list(roots)
    while waiting:
        module = waiting.pop()
        if through_plumbing or not is_plumbing(module):
            new = imports(module) - reached
            reached |= new
            waiting += new
    return reached


@cache
def imports(module: str) -> frozenset[str]:
    """Return the modules of the project that a module imports itself: inside functions too, but not for types alone."""
    names: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(name for name in names if name.partition(".")[0] == PACKAGE.name and module_file(name).is_file())


def module_file(module: str) -> Path:
    """Return where a module of the project lies."""
    return PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")


@cache
def module_digest(module: str) -> str:
    """Return the sha256 of a module's syntax tree, without what cannot change a result."""
    return hashlib.sha256("".join(_canonical(_tree(module))).encode()).hexdigest()


def _tree(module: str) -> ast.Module:
    tree: ast.Module = _Essence().visit(ast.parse(module_file(module).read_text(encoding="utf-8")))
    return tree


class _Essence(ast.NodeTransformer):
    """Leaves out of a syntax tree what cannot change a result."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return [self.visit(statement) for statement in node.orelse]
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Leave out texts that stand alone, docstrings above all, and lines of a log."""
        value = node.value
        alone = isinstance(value, ast.Constant) and isinstance(value.value, str)
        logs = isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and _is_logger(value.func.value)
        return None if alone or logs else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "UserError":
            return node.func
        return self.generic_visit(node)


def _is_logger(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in _LOGGERS


def _canonical(node: object) -> Iterator[str]:
    """Yield a tree as text, empty fields left out: what the versions of Python agree on."""
    if isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for name, value in ast.iter_fields(node):
            if value is not None and value != []:
                yield f"{name}="
                yield from _canonical(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            yield from _canonical(item)
        yield "]"
    else:
        yield f"{node!r},"
