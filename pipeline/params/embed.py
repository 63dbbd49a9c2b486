"""The features of the frozen backbone."""

from typing import Annotated

from pydantic import Field

from pipeline.params.section import Count, Section


class Embed(Section):
    """How many augmented views of a train picture are embedded, and how many pictures at a time."""

    views: Annotated[int, Field(ge=0)]
    batch_size: Count
