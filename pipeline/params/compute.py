"""Where shards are computed."""

from typing import Annotated

from pydantic import Field

from pipeline.params.section import Section


class Compute(Section):
    """`scheduler`: the address of a Dask scheduler, as tcp://10.0.0.1:8786; null: this machine alone."""

    scheduler: Annotated[str, Field(pattern=r"^[a-z]+://[^\s]+$")] | None
