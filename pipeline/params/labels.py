"""The classes."""

import re
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from pipeline.params.section import Section


class Labels(Section):
    """The classes, in the order of the model's outputs, and which of them are unsafe."""

    names: tuple[str, ...] = Field(min_length=2)
    unsafe: tuple[str, ...] = Field(min_length=1)

    @field_validator("names", "unsafe", mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in self.names:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                raise ValueError(f"label {name!r} may hold letters, digits, _ and - only")
        if len(set(self.names)) < len(self.names):
            raise ValueError("names holds a label twice")
        strangers = sorted(set(self.unsafe) - set(self.names))
        if strangers:
            raise ValueError(f"unsafe names {', '.join(strangers)}; allowed: {', '.join(self.names)}")
        if set(self.unsafe) == set(self.names):
            raise ValueError("unsafe holds every label; at least one must be safe")
        return self
