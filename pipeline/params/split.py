"""How pictures are divided into train, validation and test."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.params.section import Count, FromList, Section, Share


class Fractions(Section):
    """Shares of the clusters; they add up to 1."""

    train: Share
    val: Share
    test: Share

    @model_validator(mode="after")
    def _check(self) -> Self:
        if abs(self.train + self.val + self.test - 1.0) > 1e-9:
            raise ValueError(f"train + val + test is {self.train + self.val + self.test:g}, not 1")
        if self.train == 0.0 or self.val == 0.0:
            raise ValueError("train and val must be above 0 (test may be 0 where test_sources names a batch)")
        return self


class Split(Section):
    """How clusters fall into train, validation and test.

    `reports`: where publicly reported pictures go, each with its cluster: `regression`, a set of their own, or `test`.
    """

    fractions: Fractions
    salt: Annotated[str, Field(min_length=1)]
    test_sources: Annotated[tuple[str, ...], FromList]
    reports: Literal["regression", "test"]
    min_per_split: Count
