"""The course of the learning rate."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.params.section import FromList, Positive, Rate, Section


class Exponential(Section):
    """initial * rate ** (epoch / every_epochs), after a linear warm-up."""

    kind: Literal["exponential"]
    initial: Rate
    rate: Annotated[float, Field(gt=0.0, le=1.0)]
    every_epochs: Positive
    warmup_epochs: Annotated[float, Field(ge=0.0)]


class Cosine(Section):
    """From initial down to final along half a cosine, after a linear warm-up."""

    kind: Literal["cosine"]
    initial: Rate
    final: Annotated[float, Field(ge=0.0)]
    warmup_epochs: Annotated[float, Field(ge=0.0)]


class Piecewise(Section):
    """values[i] until epoch boundaries[i], then the last value; after a linear warm-up."""

    kind: Literal["piecewise"]
    boundaries: Annotated[tuple[Positive, ...], FromList] = Field(min_length=1)
    values: Annotated[tuple[Rate, ...], FromList]
    warmup_epochs: Annotated[float, Field(ge=0.0)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"{len(self.boundaries)} boundaries need {len(self.boundaries) + 1} values, not {len(self.values)}"
            )
        if any(later <= earlier for earlier, later in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError("boundaries must ascend")
        return self


Schedule = Annotated[Exponential | Cosine | Piecewise, Field(discriminator="kind")]


def first_rate(schedule: Schedule) -> float:
    """Return the rate at the end of the warm-up."""
    return schedule.values[0] if isinstance(schedule, Piecewise) else schedule.initial
