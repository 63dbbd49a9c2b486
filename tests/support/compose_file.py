"""compose.yaml, as Docker Compose reads it: with the values of `.env` in it."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.support.system_helpers import REPOSITORY

COMPOSE = REPOSITORY / "compose.yaml"
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([?-])([^}]*))?\})")


def raw() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))


def interpolated(variables: Mapping[str, str]) -> dict[str, Any]:
    """The document with `${NAME}`, `${NAME:?message}` and `${NAME:-default}` replaced."""

    def value(match: re.Match[str]) -> str:
        dollar, name, operator, text = match.groups()
        if dollar:
            return dollar
        if variables.get(name):
            return variables[name]
        assert operator == "-", f"compose.yaml wants {name}"
        return text

    def within(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: within(each) for key, each in node.items()}
        if isinstance(node, list):
            return [within(each) for each in node]
        return VARIABLE.sub(value, node) if isinstance(node, str) else node

    return within(raw())


def variables_of_file(text: str) -> dict[str, str]:
    """The variables of a `.env`: a line NAME=value each."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)
