"""Which modules of the project a result depends on, with a digest of each that comments do not change.

    digest_lines("pipeline.stages.train")  # ["pipeline.evaluation.recall 3f9a...", ...]

The digest is of a module's syntax tree, without what cannot change a result: comments, docstrings, layout, log lines,
messages of user errors, imports for type checkers.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]

# Modules and rooms that never change a result, each with the reason. Stages' lists leave them out, with their imports.
RESULT_NEUTRAL = {
    "pipeline.__main__": "starts a stage",
    "pipeline.core.cluster": "the same items in the same order, on machines that are equal",
    "pipeline.core.code_digests": "writes the lists themselves; where it changes, the lists do",
    "pipeline.core.errors": "messages and exit codes",
    "pipeline.core.executor": "the same items in the same order, on however many processes",
    "pipeline.core.files": "files written whole or not at all, and SHA-256: the same bytes",
    "pipeline.core.git": "runs git, for lineage",
    "pipeline.core.import_hooks": "leaves out what nothing here calls; when garbage is collected",
    "pipeline.core.paths": "locations of files: dvc.yaml names each as a dep or an out",
    "pipeline.core.processes": "worker processes end with their parent",
    "pipeline.core.tensorflow_log": "keeps TensorFlow's messages off the screen",
    "pipeline.core.yaml_document": "reads params.yaml, whose values are deps themselves",
    "pipeline.pages": "how pages look; what they show comes from others",
    "pipeline.params": "types and limits of values that are deps themselves",
    "pipeline.images.worker_pool": "sends bytes to worker processes, and replaces those that die",
    "pipeline.images.worker_process": "starts, calls and ends one worker process",
    "pipeline.tracking": "publishes results; makes none",
    "pipeline.training.progress": "a bar on a terminal",
}
_LOGGERS = {"_log"}


def is_result_neutral(module: str) -> bool:
    """Whether a module can never change a result."""
    return any(module == name or module.startswith(f"{name}.") for name in RESULT_NEUTRAL)


def digest_lines(*roots: str) -> list[str]:
    """Return `<module> <digest>`, sorted, for every module that the roots' results depend on, the roots included."""
    modules = sorted(module for module in closure(*roots, through_neutral=False) if not is_result_neutral(module))
    return [f"{module} {module_digest(module)}" for module in modules]


def digest(*roots: str) -> str:
    """Return one digest of all that `digest_lines` lists."""
    return hashlib.sha256("\n".join(digest_lines(*roots)).encode()).hexdigest()


def closure(*roots: str, through_neutral: bool = True) -> set[str]:
    """Return the roots and every module of the project that they import when they run, directly or not."""
    reached, waiting = set(roots), list(roots)
    while waiting:
        module = waiting.pop()
        if through_neutral or not is_result_neutral(module):
            new = imports(module) - reached
            reached |= new
            waiting += new
    return reached


def imports(module: str) -> frozenset[str]:
    """Return the modules of the project that a module imports directly: in functions too, but not for types only."""
    return module_facts(module)[0]


def module_file(module: str) -> Path:
    """Return the path of a module of the project."""
    return PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")


def module_digest(module: str) -> str:
    """Return the sha256 of a module's syntax tree, without what cannot change a result."""
    return module_facts(module)[1]


@cache
def module_facts(module: str) -> tuple[frozenset[str], str]:
    """Return `imports` and `module_digest` of a module."""
    tree = _ResultCode().visit(ast.parse(module_file(module).read_text(encoding="utf-8")))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    imported = (name for name in names if name.partition(".")[0] == PACKAGE.name and module_file(name).is_file())
    text: list[str] = []
    _write_canonical(tree, text)
    return frozenset(imported), hashlib.sha256("".join(text).encode()).hexdigest()


class _ResultCode(ast.NodeTransformer):
    """Removes from a syntax tree what cannot change a result."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return [self.visit(statement) for statement in node.orelse]
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Remove expressions that are only a text, such as docstrings, and log lines."""
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


def _write_canonical(node: object, text: list[str]) -> None:
    """Append a tree to a text without its empty fields, so that every version of Python gives the same."""
    if isinstance(node, ast.AST):
        text.append(f"{type(node).__name__}(")
        for name in node._fields:
            value = getattr(node, name, None)
            if value is not None and value != []:
                text.append(f"{name}=")
                _write_canonical(value, text)
        text.append(")")
    elif isinstance(node, list):
        text.append("[")
        for item in node:
            _write_canonical(item, text)
        text.append("]")
    else:
        text.append(f"{node!r},")
