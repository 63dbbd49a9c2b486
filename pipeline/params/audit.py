"""The search for wrong labels."""

from typing import Annotated

from pydantic import Field

from pipeline.params.section import Count, Section


class Audit(Section):
    """The search for wrong labels."""

    folds: Annotated[int, Field(ge=2, le=20)]
    views: Annotated[int, Field(ge=0)]
    max_rows: Count
