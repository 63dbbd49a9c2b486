"""How pixels are stored for training."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.params.section import Count, Section


class Pack(Section):
    """How training pixels are stored."""

    encoding: Literal["png", "jpeg"]
    jpeg_quality: Annotated[int, Field(ge=50, le=100)]
    pictures_per_file: Count
