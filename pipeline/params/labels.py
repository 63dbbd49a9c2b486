"""The classes."""

import re
from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.core.decisions import ACTS
from pipeline.params.section import FromList, Section


class Labels(Section):
    """The classes, in the order of the model's outputs, and which of them are unsafe."""

    names: Annotated[tuple[str, ...], FromList] = Field(min_length=2)
    unsafe: Annotated[tuple[str, ...], FromList] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in self.names:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                raise ValueError(f"label {name!r} may hold letters, digits, _ and - only")
        if reserved := sorted(set(self.names) & set(ACTS)):
            raise ValueError(
                f"names holds {', '.join(reserved)}, which data/decisions.csv uses for what is no label; rename it"
            )
        if len(set(self.names)) < len(self.names):
            raise ValueError("names holds a label twice")
        strangers = sorted(set(self.unsafe) - set(self.names))
        if strangers:
            raise ValueError(f"unsafe names {', '.join(strangers)}; allowed: {', '.join(self.names)}")
        if set(self.unsafe) == set(self.names):
            raise ValueError("unsafe holds every label; at least one must be safe")
        return self
