"""Public reports: what the inbox takes, how long it keeps it, and how many may become regression cases."""

from typing import Annotated

from pydantic import Field

from pipeline.params.section import Count, Positive, Section, Share


class Reports(Section):
    """The inbox of `nsfw demo`, and what `nsfw reports` does with it; 1 MB is 2^20 bytes.

    `retain_days`: after them `nsfw reports purge` deletes what was not accepted. `max_share`: of a class's pictures in
    data/ that may be accepted reports. `comment_length`: characters. `side`: px of the longer side of a stored picture.
    `burst` and `per_hour` limit one address; `open_reports` and `pictures_mb` limit the inbox as a whole.
    """

    retain_days: Annotated[int, Field(ge=1, le=3650)]
    max_share: Share
    comment_length: Annotated[int, Field(ge=0, le=10_000)]
    side: Annotated[int, Field(ge=64, le=16_384)]
    burst: Count
    per_hour: Positive
    open_reports: Count
    pictures_mb: Positive
