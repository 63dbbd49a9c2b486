"""Messages about a params document: a line for each wrong key."""

from datetime import date
from typing import Any

from pydantic import BaseModel, ValidationError

_SCHEDULES = {"exponential", "cosine", "piecewise"}
_FORMS = {"interval", "choices"}


def problems(root: type[BaseModel], error: ValidationError) -> list[str]:
    """Return a line for each problem of a document of `root`: its key, what is wrong, and what is allowed."""
    return [_line(root, item["loc"], item["msg"], item.get("input"), item["type"]) for item in error.errors()]


def _line(root: type[BaseModel], location: tuple[int | str, ...], message: str, value: Any, kind: str) -> str:
    # A discriminated union puts its tag into the location: finetune.schedule.cosine.final, tune.space.KEY.interval.low.
    parts = [
        str(part)
        for index, part in enumerate(location)
        if not (part in _SCHEDULES and location[index - 1] == "schedule")
        and not (part in _FORMS and location[index - 2 : index - 1] == ("space",))
    ]
    key = ".".join(parts)
    if kind == "extra_forbidden":
        return f"{key}: unknown key; {_siblings(root, parts)}"
    if kind == "missing":
        return f"{key}: missing"
    text = message.removeprefix("Value error, ")
    if kind == "value_error":
        return f"{key}: {text}" if key else text
    if not key:
        return f"it must hold the sections {', '.join(_fields(root))}, but is {_shown(value)}"
    return f"{key}: {text[0].lower()}{text[1:]}, but is {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, date):
        return f"a date, {value}: put it in quotes"
    if value is None:
        return "null"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Return a section's fields by their names in params.yaml."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _siblings(root: type[BaseModel], parts: list[str]) -> str:
    model: Any = root
    for part in parts[:-1]:
        fields = _fields(model)
        model = fields[part].annotation if part in fields else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return "remove it"
    return f"known here: {', '.join(_fields(model))}"
