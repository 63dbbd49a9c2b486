"""`nsfw monitor`: when a difference between two times is called drift."""

from typing import Annotated

from pydantic import Field

from pipeline.params.section import Count, Section, Share


class Monitor(Section):
    """Limits of drift.

    `alpha`: the probability that a run reports drift although nothing has changed. `min_psi`: a population stability
    index below it is no drift, however sure it is; `min_shift` the same for the share of pictures called unsafe.
    `min_pictures`: a window or a slice with fewer is shown, not judged.
    """

    alpha: Annotated[float, Field(gt=0.0, le=0.2)]
    min_psi: Annotated[float, Field(ge=0.0, le=10.0)]
    min_shift: Share
    min_pictures: Count
