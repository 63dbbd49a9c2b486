"""The features of the frozen backbone."""

from typing import Annotated

from pydantic import Field

from pipeline.params.section import Count, Section


class Embed(Section):
    """The number of augmented views of each picture, and the batch size."""

    views: Annotated[int, Field(ge=0)]
    batch_size: Count
