"""`nsfw review`."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.params.section import FromList, Section, Share

_Percent = Annotated[int, Field(ge=0, le=100)]


class Review(Section):
    """The review page: who decides, how much is looked at twice, how pictures are shown.

    `reviewers`: names to choose from; none: the system user's. `second_opinion`: share of pictures that a second
    person sees, too. `audit_sample`: pictures drawn at random to look at, whatever the model says. `lease_minutes`: how
    long a picture stays reserved for someone whose browser no longer answers. `blur` and `grey`: percent.
    """

    reviewers: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=80)], ...], FromList]
    second_opinion: Share
    audit_sample: Annotated[int, Field(ge=0, lt=2**31)]
    page: Annotated[int, Field(ge=1, le=200)]
    blur: _Percent
    grey: _Percent
    pause_minutes: Annotated[float, Field(gt=0.0, le=1440.0)]
    lease_minutes: Annotated[float, Field(ge=0.5, le=1440.0)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.reviewers)) < len(self.reviewers):
            raise ValueError("reviewers holds a name twice")
        for name in self.reviewers:
            if not name.isprintable() or name.strip() != name or "," in name or "+" in name:
                raise ValueError(f"reviewers holds {name!r}: no commas, plus signs, outer spaces or control characters")
        return self
