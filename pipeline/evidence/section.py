"""What every section of an evidence document is made of: a frozen model that refuses unknown keys, and its types."""

import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

SHOWN = 80  # characters of a value in a message: anybody may have written it
_SHA256 = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")


def check_digest(value: str) -> str:
    """Return `value` if it is a sha256 in hex.

    Raises:
        ValueError: it is not.

    """
    if not _SHA256.fullmatch(value):
        raise ValueError(f"no digest: {value[:SHOWN]!r}")
    return value


Digest = Annotated[str, AfterValidator(check_digest)]
# JSON knows lists alone; a frozen model holds tuples.
Several = Annotated[tuple[T, ...], Field(strict=False)]
Interval = Annotated[tuple[float, float], Field(strict=False)]
OpenInterval = Annotated[tuple[float | None, float | None], Field(strict=False)]


class Section(BaseModel):
    """A part of the document: frozen; an unknown key, or a value of another type, is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())

    def to_json(self) -> dict[str, Any]:
        """Return the part as in the file: the same keys and values, none added."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)
