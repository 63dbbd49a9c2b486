"""What every section of params.yaml is made of: a frozen model that refuses unknown keys, and types with limits."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_MB = 2**20  # a terabyte: what a limit of memory may be

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, le=1e9)]
Rate = Annotated[float, Field(gt=0.0, le=1e38)]  # what float32 holds: one that is too high is told of by the loss
Count = Annotated[int, Field(ge=1, lt=2**31)]
Smoothing = Annotated[float, Field(ge=0.0, le=0.5)]
ClassWeights = Literal["balanced", "effective"] | None


class Section(BaseModel):
    """A section: frozen; an unknown key, or a value of another type, is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
