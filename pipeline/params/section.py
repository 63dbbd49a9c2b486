"""The base of every section of params.yaml: a frozen model that refuses unknown keys, and types with limits."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MOST_MB = 2**20  # a terabyte: the largest limit of memory

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, le=1e9)]
Rate = Annotated[float, Field(gt=0.0, le=1e38)]  # the range of float32; a rate that is too high makes the loss diverge
Count = Annotated[int, Field(ge=1, lt=2**31)]
Smoothing = Annotated[float, Field(ge=0.0, le=0.5)]
ClassWeights = Literal["balanced", "effective"] | None


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


FromList = BeforeValidator(_as_tuple)  # YAML knows lists alone; a frozen model holds tuples


class Section(BaseModel):
    """A section: frozen; an unknown key, or a value of another type, is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
