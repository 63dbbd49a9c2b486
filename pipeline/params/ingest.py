"""`nsfw ingest`: who asks the web, how often, and how much one answer may cost; and what is screened for."""

import re
from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.params.screens import Screens
from pipeline.params.section import Count, Positive, Section, Share

_CONTACT = re.compile(r"https?://[!-~]+|[!-'*-~]+@[!-'*-~]+")  # printable ASCII: it goes into a header, in parentheses
_Wait = Annotated[float, Field(ge=0.0, le=86_400.0)]


class Ingest(Section):
    """Fetching from the web; seconds, and 1 MB is 2^20 bytes.

    `contact`: a mail address or a page, which every request names; without it nothing is fetched. `connections`,
    `per_host`: requests at a time. `delay_seconds`: between two requests to a host; robots.txt may ask for more.
    `attempts`: requests for a URL before it is given up; `backoff_seconds`: before the second, doubled before each
    later one. `longest_wait_seconds`: the longest that a server's wish (Retry-After, Crawl-delay) makes it wait.
    `seconds`: of one request, from the name to the last byte. `min_success`: share of the rows with stored bytes.
    """

    contact: Annotated[str, Field(max_length=200)] | None
    connections: Annotated[int, Field(ge=1, le=1024)]
    per_host: Annotated[int, Field(ge=1, le=64)]
    delay_seconds: _Wait
    attempts: Annotated[int, Field(ge=1, le=20)]
    backoff_seconds: _Wait
    longest_wait_seconds: _Wait
    seconds: Positive
    picture_mb: Count
    min_success: Share
    screens: Screens

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.contact is not None and not _CONTACT.fullmatch(self.contact):
            raise ValueError(f"contact must be a mail address or an http(s) address, not {self.contact!r}")
        if self.per_host > self.connections:
            raise ValueError("per_host must not exceed connections")
        return self
