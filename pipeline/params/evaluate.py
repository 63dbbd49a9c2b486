"""How a model is evaluated, and the class mix of real traffic."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.params.section import Count, FromList, Section, Share


class Policy(Section):
    """What moderation does with a class: block it, blur it, or queue it for a person."""

    block: Annotated[tuple[str, ...], FromList] = ()
    blur: Annotated[tuple[str, ...], FromList] = ()
    queue: Annotated[tuple[str, ...], FromList] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        named = [*self.block, *self.blur, *self.queue]
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is under two actions; a class has one")
        return self


class Evaluate(Section):
    """The evidence on a model: intervals, operating points, robustness, slices.

    `prevalence`: the share of unsafe pictures in real traffic, or every class's share; None: not known.
    `policy`: None queues every unsafe class.
    """

    confidence: Annotated[float, Field(gt=0.5, lt=1.0)]
    resamples: Annotated[int, Field(ge=100, le=100_000)]
    target_recall: Annotated[float, Field(gt=0.0, le=1.0)]
    prevalence: Annotated[float, Field(gt=0.0, lt=1.0)] | dict[str, Share] | None
    policy: Policy | None
    robustness_pictures: Count
    min_slice: Count
