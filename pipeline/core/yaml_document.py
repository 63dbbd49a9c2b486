"""A YAML document that a person edits, read strictly and within limits; what is wrong is named by its line.

Refused, although DVC reads it: a key given twice (in YAML the last one wins), aliases that expand beyond the limits,
numbers that are too large or not finite, and tags of other languages' types.
"""

import math
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import UserError
from pipeline.core.files import read_bytes

_MAX_BYTES = 2**20
_MAX_DEPTH = 50
_MAX_NODES = 50_000  # aliases followed
_MAX_INTEGER = 2**53  # beyond it a float no longer holds every integer
_MAX_DIGITS = 400  # a longer text is no number; Python itself stops at 4,300


def read(path: Path, *, remedy: str) -> Any:
    """Return the document in `path`; `remedy` says what to do if there is no such file.

    Raises:
        UserError: it is missing, not UTF-8, not YAML, or beyond a limit; the message names the file and the line.

    """
    data = read_bytes(path, remedy=remedy)
    if len(data) > _MAX_BYTES:
        raise UserError(f"{path} has {len(data):,} bytes; up to {_MAX_BYTES:,} are read. Is it the right file?")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line} is not UTF-8. Save the file in that encoding.") from None
    try:
        return yaml.load(text, _Loader)  # noqa: S506 -- a SafeLoader
    except yaml.MarkedYAMLError as error:
        raise UserError(f"{path} is not valid YAML: {_describe(error)}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())[:300]}") from None


def _describe(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    words = " ".join(part for part in (error.context, error.problem) if part)[:300]
    return words if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {words}"


class _Loader(yaml.SafeLoader):
    """Counts nodes as they are composed, an alias as many times as its target has nodes; checks keys and numbers."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._nodes = 0
        self._sizes: dict[int, int] = {}  # of composed nodes, by id; the document's tree keeps them alive

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"it is nested more than {_MAX_DEPTH} deep", mark)
        before = self._nodes
        node = super().compose_node(parent, index)
        if alias:
            if id(node) not in self._sizes:
                raise yaml.composer.ComposerError(None, None, "an alias refers to a node that contains it", mark)
            self._nodes += self._sizes[id(node)]
        else:
            self._nodes += 1
            self._sizes[id(node)] = self._nodes - before
        if self._nodes > _MAX_NODES:
            raise yaml.composer.ComposerError(None, None, f"it has more than {_MAX_NODES:,} values", mark)
        self._depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.composer.ComposerError(None, None, "a key must be a plain text", key.start_mark)
            identity, line = (key.tag, key.value), key.start_mark.line + 1
            if identity in first:
                problem = f"the key {key.value[:60]!r} is given twice, in line {first[identity]} too: keep one"
                raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
            first[identity] = line
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001 -- PyYAML's signature
        if not isinstance(node, yaml.ScalarNode):
            return super().construct_object(node, deep)
        kind = node.tag.rpartition(":")[2]
        shown = repr(node.value if len(node.value) <= 40 else node.value[:37] + "...")
        if kind in {"int", "float"} and len(node.value) > _MAX_DIGITS:
            raise yaml.constructor.ConstructorError(None, None, f"{shown} is too long a number", node.start_mark)
        try:
            value = super().construct_object(node, deep)
        # PyYAML's constructors raise any error of the conversion, also for tags of other types.
        except (ValueError, OverflowError, AttributeError, KeyError, TypeError, IndexError):
            raise yaml.constructor.ConstructorError(None, None, f"{shown} is no {kind}", node.start_mark) from None
        if kind == "int" and abs(value) > _MAX_INTEGER:
            raise yaml.constructor.ConstructorError(None, None, f"{shown} is too large a number", node.start_mark)
        if kind == "float" and not math.isfinite(value):
            raise yaml.constructor.ConstructorError(None, None, f"{shown} is no finite number", node.start_mark)
        return value
