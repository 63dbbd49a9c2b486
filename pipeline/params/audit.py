"""The search for wrong labels."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.params.section import Count, Section


class Audit(Section):
    """The search for wrong labels.

    `judge`: `features`, a logistic regression on the frozen backbone's features; `fine_tuning`, whole trainings.
    `repeats`: of the folds, drawn anew; of `fine_tuning` alone.
    """

    judge: Literal["features", "fine_tuning"]
    folds: Annotated[int, Field(ge=2, le=20)]
    repeats: Annotated[int, Field(ge=1, le=10)]
    views: Annotated[int, Field(ge=0)]
    max_rows: Count
