"""`nsfw serve`."""

import os
from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.params.section import MOST_MB, Count, Positive, Section


class ServeAdvanced(Section):
    """Limits of time and memory that protect the service; measured as docs/serving.md says. 1 MB is 2^20 bytes.

    `quick_seconds`, `seconds`, `memory_mb`: CPU time and memory of one picture's decoding; past `quick_seconds` it
    continues in a process of low priority. `bodies_mb`: request bodies in memory at a time. `header_seconds`,
    `body_seconds`, `answer_seconds`: how long a client may take to send and to read. `poll_seconds`: between two looks
    at which version is in production. `grace_seconds`: after SIGTERM, for accepted requests.
    """

    quick_seconds: Positive
    seconds: Positive
    memory_mb: Annotated[int, Field(ge=64, le=MOST_MB)]
    bodies_mb: Positive
    header_seconds: Positive
    body_seconds: Positive
    answer_seconds: Positive
    connections: Count
    poll_seconds: Positive
    grace_seconds: Annotated[float, Field(ge=0.0)]


class Serve(Section):
    """The HTTP service: limits for a picture, a request, and all requests together; 1 MB is 2^20 bytes.

    `queue` limits the pictures in hand (being decoded, waiting, in the network): beyond it a request gets a 429.
    `max_batch_delay_ms` is how long a batch that is not full waits for pictures that are being decoded.
    """

    batch: Annotated[int, Field(ge=1, le=256)]
    max_batch_delay_ms: Annotated[float, Field(ge=0.0, le=1000.0)]
    queue: Count | None
    workers: Annotated[int, Field(ge=1, le=256)]
    pictures: Annotated[int, Field(ge=1, le=1000)]
    picture_mb: Positive
    request_mb: Positive
    advanced: ServeAdvanced

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.picture_mb <= self.request_mb <= self.advanced.bodies_mb:
            raise ValueError("picture_mb, request_mb and advanced.bodies_mb must not descend: a picture fits a request")
        return self

    @property
    def capacity(self) -> int:
        """How many pictures may be in hand: `queue`, or by default the number of cores that this process may use."""
        return self.queue or max(2, len(os.sched_getaffinity(0)))
