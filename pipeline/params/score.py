"""`nsfw score`."""

from typing import Annotated

from pydantic import Field

from pipeline.params.section import MOST_MB, Positive, Section


class Score(Section):
    """Limits of `nsfw score`: time and memory for a picture, and the size of a file (1 MB is 2^20 bytes)."""

    seconds: Positive
    memory_mb: Annotated[int, Field(ge=64, le=MOST_MB)]
    max_mb: Annotated[int, Field(ge=1, le=1024)]
